package clauses_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/falco"
	"spire-falco/falco/clauses"
	"spire-falco/falco/condition"
)

func parse(t *testing.T, text string) (*condition.Language, condition.Expr) {
	t.Helper()
	lang := condition.For(falco.Newest())
	e, err := lang.Parse(text)
	require.NoError(t, err)
	return lang, e
}

func event(fields map[string]string) condition.Event {
	out := map[string]condition.EventValue{}
	for f, v := range fields {
		out[f] = condition.StringValue(v)
	}
	return condition.NewEvent(out)
}

// stock says of checks of fd.name that their text is not known.
func stock(e condition.Expr) bool {
	return slices.Contains([]string{"fd.name = x", "fd.name = y"}, e.String())
}

func TestTree(t *testing.T) {
	t.Parallel()
	const text = "evt.type = open and (proc.name = a or proc.name = b) and not user.name = root"
	for name, tt := range map[string]struct {
		text     string
		event    map[string]string
		value    clauses.Truth
		decisive []string
		blame    []string
	}{
		"every part of an and decides when all are true": {
			text,
			map[string]string{"evt.type": "open", "proc.name": "a", "user.name": "u"},
			clauses.True,
			[]string{"evt.type = open", "proc.name = a", "user.name = root"},
			[]string{"evt.type = open"},
		},
		"one false part of an and decides alone": {
			text,
			map[string]string{"evt.type": "open", "proc.name": "a", "user.name": "root"},
			clauses.False,
			[]string{"user.name = root"},
			[]string{"user.name = root"},
		},
		"each part of an or decides when all are false": {
			text,
			map[string]string{"evt.type": "open", "proc.name": "c", "user.name": "u"},
			clauses.False,
			[]string{"proc.name = a", "proc.name = b"},
			[]string{"proc.name = a"},
		},
		"two false parts decide nothing, and both are to blame": {
			text,
			map[string]string{"evt.type": "close", "proc.name": "a", "user.name": "root"},
			clauses.False,
			nil,
			[]string{"evt.type = open", "user.name = root"},
		},
		"an and with an unknown part may be true": {
			"proc.name = a and fd.name = x", map[string]string{"proc.name": "a"}, clauses.Unknown, nil, []string{"fd.name = x"},
		},
		"an and with a false part is false whatever is unknown": {
			"proc.name = a and fd.name = x", map[string]string{"proc.name": "b"}, clauses.False, nil, []string{"proc.name = a"},
		},
		"an or with a true part is true whatever is unknown": {
			"proc.name = a or not fd.name = x", map[string]string{"proc.name": "a"}, clauses.True, nil, []string{"proc.name = a"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lang, e := parse(t, tt.text)
			tree, err := clauses.New(lang, e, stock)
			require.NoError(t, err)
			assert.Equal(t, tt.value, tree.Eval(event(tt.event)))
			if tt.value != clauses.Unknown && tree.Certain() {
				var decisive []string
				tree.Decisive(func(i int, _ clauses.Truth) { decisive = append(decisive, tree.Checks()[i].String()) })
				assert.Equal(t, tt.decisive, decisive)
			}
			var blame []string
			for _, c := range tree.Blame() {
				blame = append(blame, c.String())
			}
			assert.Equal(t, tt.blame, blame)
		})
	}
}

// What Decisive says is what turning the check around does.
func TestADecisiveCheckTurnedAroundTurnsTheWhole(t *testing.T) {
	t.Parallel()
	const text = "(proc.name = a and (fd.name = 1 or not fd.name = 2)) or not (user.name = u and proc.name != b)"
	lang, e := parse(t, text)
	tree, err := clauses.New(lang, e, nil)
	require.NoError(t, err)
	for _, name := range []string{"a", "b", "c"} {
		for _, fd := range []string{"1", "2", "3"} {
			for _, user := range []string{"u", "v"} {
				ev := event(map[string]string{"proc.name": name, "fd.name": fd, "user.name": user})
				was := tree.Eval(ev)
				decisive := map[int]bool{}
				tree.Decisive(func(i int, _ clauses.Truth) { decisive[i] = true })
				turned := -1
				for _, m := range clauses.Mutants(e) {
					if m.Removed || strings.HasPrefix(m.What, "turned not ") { // not of one check
						continue
					}
					other, err := clauses.New(lang, m.Expr, nil)
					require.NoError(t, err)
					turned++
					assert.Equal(t, decisive[turned], other.Eval(ev) != was, "%s for %v", m.What, ev.Fields())
				}
				assert.Equal(t, len(tree.Checks())-1, turned)
			}
		}
	}
}

func TestMutants(t *testing.T) {
	t.Parallel()
	_, e := parse(t, "proc.name in (a, b) and not fd.name exists")
	var got []string
	for _, m := range clauses.Mutants(e) {
		got = append(got, m.What+" => "+m.Expr.String())
	}
	assert.Equal(t, []string{
		"without proc.name in (a, b) => not fd.name exists",
		"turned proc.name in (a, b) => (not proc.name in (a, b) and not fd.name exists)",
		"proc.name in (a, b) without a => (proc.name in (b) and not fd.name exists)",
		"proc.name in (a, b) without b => (proc.name in (a) and not fd.name exists)",
		"without not fd.name exists => proc.name in (a, b)",
		"turned not fd.name exists => (proc.name in (a, b) and fd.name exists)",
		"turned fd.name exists => (proc.name in (a, b) and not not fd.name exists)",
	}, got)
}

func TestSurvivorsAreTheMutantsThatNoEventNotices(t *testing.T) {
	t.Parallel()
	lang, e := parse(t, "evt.type = open and proc.name = a")
	fires := event(map[string]string{"evt.type": "open", "proc.name": "a"})
	near := event(map[string]string{"evt.type": "open", "proc.name": "b"})
	survivors := func(events []condition.Event, seen func(int) bool) (out []string) {
		found, all, err := clauses.Survivors(lang, e, events, seen)
		require.NoError(t, err)
		assert.Len(t, all, 4)
		for _, m := range found {
			out = append(out, m.What)
		}
		return out
	}
	assert.Equal(t, []string{"without evt.type = open", "without proc.name = a"}, survivors([]condition.Event{fires}, nil))
	assert.Equal(t, []string{"without evt.type = open"}, survivors([]condition.Event{fires, near}, nil))
	hidden := func(i int) bool { return i == 0 }
	assert.Equal(t, []string{"without evt.type = open", "without proc.name = a"}, survivors([]condition.Event{fires, near}, hidden))
}
