package loro

import (
	"strconv"
	"strings"
)

// Since Loro 1.13 a child container can be "mergeable": a root whose name says
// which key of which map it is the value of, where a binary marker stands
// (crates/loro-internal/docs/mergeable-container-id.md). Here root and marker
// are plain data, but the state section of such a root must name its parent.

const mergeablePrefix = "🤝:"

// mergeableParent returns the parent in the name of a mergeable root, and the
// zero id for any other name.
func mergeableParent(name string) ContainerID {
	path, ok := strings.CutPrefix(name, mergeablePrefix)
	if !ok {
		return ContainerID{}
	}
	last, first := -1, -1 // unescaped separators
	for i := 0; i < len(path); i++ {
		switch path[i] {
		case '\\':
			i++
		case '>':
			if last = i; first < 0 {
				first = i
			}
		}
	}
	if last < 0 {
		return ContainerID{}
	}
	if first != last {
		return RootID(mergeablePrefix+path[:last], TypeMap)
	}
	if base, ok := strings.CutPrefix(path[:first], "$"); ok {
		return RootID(unescapeMergeable.Replace(base), TypeMap)
	}
	if base, ok := strings.CutPrefix(path[:first], "@"); ok {
		p, c, _ := strings.Cut(base, ":")
		peer, err1 := strconv.ParseUint(p, 36, 64)
		ctr, err2 := strconv.ParseInt(c, 36, 32)
		if err1 == nil && err2 == nil && ctr >= 0 {
			return ChildID(ID{PeerID(peer), int32(ctr)}, TypeMap)
		}
	}
	return ContainerID{}
}

var unescapeMergeable = strings.NewReplacer(`\\`, `\`, `\>`, `>`, `\s`, `/`, `\0`, "\x00")
