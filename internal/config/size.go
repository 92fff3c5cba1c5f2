package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// units by their spelling in lower case. The decimal ones are there because disks are
// sold in them; a bare K or M is refused, since it means either.
var units = map[string]int64{
	"": 1, "b": 1,
	"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40, "pib": 1 << 50,
	"kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12,
}

var errNotSize = errors.New(`is not a size: write bytes or a whole number with a unit, as in 4194304 or "4MiB"`)

// parseSize reads a number of bytes such as "4MiB", "10 GiB" or "65536".
func parseSize(text string) (int64, error) {
	digits := len(text) - len(strings.TrimLeft(text, "0123456789_"))
	n, err := strconv.ParseInt(strings.ReplaceAll(text[:digits], "_", ""), 10, 64)
	unit, ok := units[strings.ToLower(strings.TrimSpace(text[digits:]))]
	if err != nil || !ok {
		return 0, errNotSize
	}
	if n > math.MaxInt64/unit {
		return 0, errors.New("is more than any disk holds: write a smaller size")
	}
	return n * unit, nil
}

// formatSize writes a size the way parseSize reads it, in the largest unit that loses nothing.
func formatSize(n int64) string {
	name, shift := "", 0
	for _, u := range []string{"KiB", "MiB", "GiB", "TiB", "PiB"} {
		if n == 0 || n&(1<<(shift+10)-1) != 0 {
			break
		}
		name, shift = u, shift+10
	}
	return fmt.Sprintf("%d%s", n>>shift, name)
}
