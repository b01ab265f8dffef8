package config

import (
	"strings"

	"github.com/texttheater/golang-levenshtein/levenshtein"
)

// nearest is the declared key that a mistyped one most likely means, or "".
func nearest(key string) string {
	keys := make([]string, len(Declared))
	for i, d := range Declared {
		keys[i] = d.Key
	}
	return nearestOf(key, keys)
}

// nearestOf is the candidate with the fewest edits from word, case aside, if these are at most two or a third of its length.
func nearestOf(word string, candidates []string) string {
	best, bestDistance := "", max(2, len(word)/3)+1
	for _, c := range candidates {
		if d := levenshtein.DistanceForStrings([]rune(strings.ToLower(word)), []rune(strings.ToLower(c)), levenshtein.DefaultOptionsWithSub); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	if best != "" {
		return best
	}
	for _, c := range candidates { // the last part alone, as in trustDomain for spire.trustDomain
		if strings.EqualFold(c[strings.LastIndex(c, ".")+1:], word) {
			return c
		}
	}
	return ""
}
