package config

import "time"

// duration returns a time from lo to hi, otherwise when it is absent or wrong.
func (t *table) duration(key string, otherwise, lo, hi time.Duration) time.Duration {
	v, ok := t.vals[key]
	if !ok {
		return otherwise
	}
	text, ok := v.(string)
	if !ok {
		t.wrong(key, "is %s, must be a time with its unit, as in \"90s\" or \"5m\"", kind(v))
		return otherwise
	}
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		t.wrong(key, "%q is not a time: write a number with a unit, as in \"90s\" or \"5m\"", text)
		return otherwise
	case d < lo || d > hi:
		t.wrong(key, "%v is out of bounds: choose from %v to %v", d, lo, hi)
		return otherwise
	}
	return d
}
