package condition

import (
	"slices"
	"strings"
)

// pathSet is the search tree of pmatch: a path matches when one of the set is
// it or a directory above it. Components may be glob patterns.
type pathSet struct {
	dirs  map[string]*pathSet
	globs []globDir
	// end marks a path of the set: everything below matches.
	end bool
}

type globDir struct {
	pattern string
	sub     *pathSet
}

func splitPath(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
}

func newPathSet(paths []string) *pathSet {
	root := &pathSet{}
	for _, p := range paths {
		root.add(splitPath(p))
	}
	return root
}

func (s *pathSet) add(components []string) {
	if len(components) == 0 {
		*s = pathSet{end: true}
		return
	}
	if s.end {
		return
	}
	first := components[0]
	var sub *pathSet
	if strings.ContainsAny(first, "?*[") {
		i := slices.IndexFunc(s.globs, func(g globDir) bool { return g.pattern == first })
		if i < 0 {
			i = len(s.globs)
			s.globs = append(s.globs, globDir{first, &pathSet{}})
		}
		sub = s.globs[i].sub
	} else {
		sub = s.dirs[first]
		if sub == nil {
			if s.dirs == nil {
				s.dirs = map[string]*pathSet{}
			}
			sub = &pathSet{}
			s.dirs[first] = sub
		}
	}
	sub.add(components[1:])
}

// match tells whether what is left of a path is in the set.
//
// Where several patterns of one level match a component, Falco goes on to the
// next component with each of them in turn, last given first, instead of
// starting over: a path can match by its second pattern a level too deep, and
// not where it should. It is kept, as a rule that works here must work there.
func (s *pathSet) match(path string) bool {
	first, rest := nextComponent(path)
	if first == "" || s.end {
		return s.end
	}
	if sub := s.dirs[first]; sub != nil && sub.match(rest) {
		return true
	}
	for i := len(s.globs) - 1; i >= 0 && first != ""; i-- {
		if !globMatch(s.globs[i].pattern, first, false) {
			continue
		}
		if s.globs[i].sub.match(rest) {
			return true
		}
		first, rest = nextComponent(rest)
	}
	return false
}

func nextComponent(path string) (first, rest string) {
	path = strings.TrimLeft(path, "/")
	if i := strings.IndexByte(path, '/'); i >= 0 {
		return path[:i], path[i:]
	}
	return path, ""
}
