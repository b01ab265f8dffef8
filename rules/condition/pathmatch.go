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

func (s *pathSet) match(path string) bool {
	if s.end {
		return true
	}
	first, rest := nextComponent(path)
	if first == "" {
		return false
	}
	if sub := s.dirs[first]; sub != nil && sub.match(rest) {
		return true
	}
	for _, g := range s.globs {
		if globMatch(g.pattern, first, false) && g.sub.match(rest) {
			return true
		}
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
