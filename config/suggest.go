package config

import (
	"strings"

	"github.com/texttheater/golang-levenshtein/levenshtein"
)

// nearest is the declared key that a mistyped one most likely means, or "". Secrets are never suggested: what was set under
// the wrong key is in plain text.
func nearest(key string) string {
	var keys []string
	for _, d := range Declared {
		if !d.Secret && oneWordApart(key, d.Key) {
			keys = append(keys, d.Key)
		}
	}
	if best := nearestOf(key, keys); best != "" {
		return best
	}
	if !strings.Contains(key, ".") { // the last word alone, as in trustDomain for spire.trustDomain
		for _, d := range Declared {
			if !d.Secret && strings.EqualFold(d.Key[strings.LastIndex(d.Key, ".")+1:], key) {
				return d.Key
			}
		}
	}
	return ""
}

// oneWordApart reports whether two keys have as many words and differ in one of them by a slip of the keyboard at most.
// Keys that differ in more are other settings: falcosidekick.teams.webhookUrl is not falcosidekick.slack.webhookUrl.
func oneWordApart(a, b string) bool {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	if len(as) != len(bs) {
		return false
	}
	apart := 0
	for i := range as {
		if strings.EqualFold(as[i], bs[i]) {
			continue
		}
		if apart++; apart > 1 || edits(as[i], bs[i]) > allowed(as[i]) {
			return false
		}
	}
	return true
}

// nearestOf is the candidate with the fewest edits from word, case aside, if these are few for its length.
func nearestOf(word string, candidates []string) string {
	best, fewest := "", allowed(word)+1
	for _, c := range candidates {
		if n := edits(word, c); n < fewest {
			best, fewest = c, n
		}
	}
	return best
}

// allowed is how many edits of a word are a slip.
func allowed(word string) int {
	switch n := len(word); {
	case n < 4:
		return 1
	case n < 9:
		return 2
	}
	return 3
}

func edits(a, b string) int {
	return levenshtein.DistanceForStrings([]rune(strings.ToLower(a)), []rune(strings.ToLower(b)), levenshtein.DefaultOptionsWithSub)
}
