package config

import "strings"

// expand replaces a leading ~ by the home directory, and $NAME and ${NAME} by variables
// of the environment. What is unknown stays as it is. What was put in is not expanded
// again: a home directory may well hold a dollar sign.
//
// left is the first thing that looks like an expansion and was none, "" when there is
// nothing of the kind, and next what to do about it.
func (e Env) expand(p string) (expanded, left, next string) {
	var b strings.Builder
	keep := func(what, advice string) {
		if left == "" {
			left, next = what, advice
		}
		b.WriteString(what)
	}
	switch {
	case p == "~" || strings.HasPrefix(p, "~/") || e.windows() && strings.HasPrefix(p, `~\`):
		if home := e.home(); home != "" {
			b.WriteString(home)
		} else {
			keep("~", "set HOME or write the path out")
		}
		p = p[1:]
	case strings.HasPrefix(p, "~"):
		user := p
		if i := strings.IndexAny(p, `/$`); i >= 0 {
			user = p[:i]
		}
		keep(user, "only ~ alone expands, write the path out")
		p = p[len(user):]
	}
	if e.windows() && left == "" {
		if name := percent(p); name != "" {
			left, next = "%"+name+"%", "write ${"+name+"}"
		}
	}
	for {
		i := strings.IndexByte(p, '$')
		if i < 0 {
			b.WriteString(p)
			return b.String(), left, next
		}
		b.WriteString(p[:i])
		p = p[i:]
		name, length := variable(p)
		if length == 0 {
			b.WriteByte('$')
			p = p[1:]
			continue
		}
		value, ok := "", false
		if e.LookupEnv != nil {
			value, ok = e.LookupEnv(name)
		}
		if ok {
			b.WriteString(value)
		} else {
			keep(p[:length], "set the variable or write the path out")
		}
		p = p[length:]
	}
}

// percent returns the name of the first variable written the way of Windows, %NAME%; ""
// when there is none.
func percent(p string) string {
	_, rest, _ := strings.Cut(p, "%")
	name, _, ok := strings.Cut(rest, "%")
	if !ok || strings.ContainsAny(name, `/\`) {
		return ""
	}
	return name
}

// variable reads the reference p begins with, a dollar sign, and returns its name and
// how long all of it is; 0 when it is just a dollar sign.
func variable(p string) (name string, length int) {
	if strings.HasPrefix(p, "${") {
		end := strings.IndexByte(p, '}')
		if end <= 2 {
			return "", 0
		}
		return p[2:end], end + 1
	}
	i := 1
	for i < len(p) && (isLetter(p[i]) || p[i] == '_' || i > 1 && '0' <= p[i] && p[i] <= '9') {
		i++
	}
	if i == 1 {
		return "", 0
	}
	return p[1:i], i
}

// Absolute returns a mount path as it should be written into a configuration: one that is relative to the working
// directory is written out, for pocket may be started in another one. What expands stays as it is, and so does
// what is no path, which a check reports.
func (e Env) Absolute(given string) string {
	expanded, left, _ := e.expand(given)
	if given == AnyDrive || left != "" || expanded != given {
		return given
	}
	p := e.paths()
	abs, err := p.abs(given, e.Dir)
	if err != nil || p.isAbs(given) {
		return given
	}
	return abs
}
