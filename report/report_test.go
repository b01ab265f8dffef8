package report_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/report"
)

func TestText(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, in, want string }{
		{"plain text stays as it is", `cat /etc/passwd | grep "a:b" C:\x é 世界`, `cat /etc/passwd | grep "a:b" C:\x é 世界`},
		{"an escape sequence is shown", "a\x1b[2K\x1b]0;title\x07b", `a\x1b[2K\x1b]0;title\x07b`},
		{"C1 controls are shown", "a\u009b2Jb\u0085", `a\u009b2Jb\u0085`},
		{"DEL and backspace are shown", "a\x7f\bb", `a\x7f\x08b`},
		{"line ends do not end the line", "a\nb\rc\r\nd\te", `a\nb\rc\r\nd\te`},
		{"line and paragraph separators are shown", "a\u2028b\u2029c\vd\fe", `a\u2028b\u2029c\x0bd\x0ce`},
		{"bidi controls are shown", "a\u202eb\u2066c\u061cd", `a\u202eb\u2066c\u061cd`},
		{"invisible characters are shown", "a\u200bb\ufeffc\u00add\u3164e\ufe0ff\u00a0g", `a\u200bb\ufeffc\u00add\u3164e\ufe0ff\u00a0g`},
		{"tag characters are shown", "a\U000e0041b", `a\U000e0041b`},
		{"invalid UTF-8 is shown byte by byte", "a\xff\xc3b\xe2\x80", `a\xff\xc3b\xe2\x80`},
		{"a NUL is shown", "a\x00b", `a\x00b`},
		{"a workflow command at the beginning is broken", "::error::x", `:\x3aerror::x`},
		{"a workflow command after blanks is broken", "  ::set-output name=a::b", `  :\x3aset-output name=a::b`},
		{"a workflow command after a line end is no command on one line", "a\n::error::x", `a\n::error::x`},
		{"two colons inside a line stay", "a::b ::c", "a::b ::c"},
		{"the older form of a command is broken anywhere", "a ##[error]b ##vso[task.x]c", `a ##\x5berror]b ##vso\x5btask.x]c`},
		{"a heading stays", "## a [b]", "## a [b]"},
		{"a carriage return at the end is shown", "a\r", `a\r`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, c.want, report.Text(c.in))
			assert.Equal(t, c.want, report.Text(report.Text(c.in)), "twice is the same as once")
		})
	}
}

func TestLinesKeepsLineFeedsAndTabsAndMakesEachLineSafe(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "a\n\tb\n:\\x3aerror::c\n\t :\\x3aerror::d\\re", report.Lines("a\r\n\tb\n::error::c\n\t ::error::d\re"))
}

func TestBoundedCutsBetweenCharactersAndSaysHowMuchIsMissing(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "éa", report.Bounded("éa", 2))
	assert.Equal(t, "é... (4 more bytes)", report.Bounded("éabcd", 1))
	assert.Equal(t, `\x1b... (1 more bytes)`, report.Bounded("\x1bc", 1))
	assert.Equal(t, "... (1 more bytes)", report.Bounded("a", -1))
}

// write writes the parts through a new writer of the kind.
func write(t *testing.T, kind func(io.Writer) io.Writer, parts ...string) string {
	t.Helper()
	var b bytes.Buffer
	w := kind(&b)
	for _, p := range parts {
		n, err := io.WriteString(w, p)
		require.NoError(t, err)
		require.Equal(t, len(p), n)
	}
	return b.String()
}

func TestWriter(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		in   []string
		want string
	}{
		{"lines and tabs stay", []string{"a\tb\nc\r\n"}, "a\tb\nc\n"},
		{"a colour is shown as text", []string{"\x1b[31mred"}, `\x1b[31mred`},
		{"a command that is split over writes is broken", []string{"a\n:", ":err", "or::x\n"}, "a\n:\\x3aerror::x\n"},
		{"a command after a carriage return is broken", []string{"a\r", "::error::x"}, `a\r::error::x`},
		{"a line end that is split over writes is one line end", []string{"a\r", "\nb"}, "a\nb"},
		{"a rune that is split over writes is whole", []string{"a\xe4\xb8", "\x96b"}, "a世b"},
		{"a bidi control that is split over writes is shown", []string{"a\xe2\x80", "\xaeb"}, `a\u202eb`},
		{"the older form of a command, split, is broken", []string{"a #", "#", "[error]x"}, `a ##\x5berror]x`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, c.want, write(t, report.Writer, c.in...))
		})
	}
	t.Run("an error of the writer below is returned", func(t *testing.T) {
		t.Parallel()
		_, err := report.Writer(iotest.TruncateWriter(failing{}, 0)).Write([]byte("a"))
		require.NoError(t, err)
		_, err = report.Writer(failing{}).Write([]byte("a"))
		require.EqualError(t, err, "no")
	})
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("no") }

func TestColorWriter(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		in   []string
		want string
	}{
		{"colours and resets pass", []string{"\x1b[1;31mred\x1b[0m\x1b[38;5;13mx\x1b[38;2;255;0;1my\x1b[m"}, "\x1b[1;31mred\x1b[0m\x1b[38;5;13mx\x1b[38;2;255;0;1my\x1b[m"},
		{"a colour that is split over writes passes", []string{"\x1b", "[3", "1mred"}, "\x1b[31mred"},
		{"moving the cursor is shown", []string{"\x1b[2J\x1b[1;1Hx"}, `\x1b[2J\x1b[1;1Hx`},
		{"concealing is shown", []string{"\x1b[8mx\x1b[1;5my"}, `\x1b[8mx\x1b[1;5my`},
		{"a title is shown", []string{"\x1b]0;x\x07"}, `\x1b]0;x\x07`},
		{"an endless sequence is shown", []string{"\x1b[" + strings.Repeat("1;", 40)}, `\x1b[` + strings.Repeat("1;", 40)},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, c.want, write(t, report.ColorWriter, c.in...))
		})
	}
}

func TestAnnotation(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		in   report.Annotation
		want string
	}{
		{"all parts are there", report.Annotation{Level: "warning", Title: "T", File: "a.yaml", Line: 3, Message: "m"}, "::warning file=a.yaml,line=3,title=T::m"},
		{"no property leaves no blank", report.Annotation{Message: "m"}, "::error::m"},
		{"a title cannot end the properties", report.Annotation{Title: "a,b::c\nd"}, "::error title=a%2Cb%3A%3Ac%0Ad::"},
		{"a message cannot begin a command", report.Annotation{Message: "a\r\n::error::b\rc%0A"}, `::error::a%0A::error::b\rc%250A`},
		{"a level cannot be made up", report.Annotation{Level: "set-env name=X", Message: "m"}, "::error::m"},
		{"an escape sequence is shown", report.Annotation{Message: "\x1b[2J\u202e"}, `::error::\x1b[2J\u202e`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, c.want, c.in.String())
		})
	}
}

func TestJSON(t *testing.T) {
	t.Parallel()
	in := "{\"a\":\"\x7f\u009b\u202e\U000e0041é\xff ##[error]\",\n \"b\":[\"\\u001b\"]}"
	got := report.JSON([]byte(in))
	//nolint:testifylint // the text, not what it means
	assert.Equal(t, "{\"a\":\"\\u007f\\u009b\\u202e\\udb40\\udc41é\\ufffd ##\\u005berror]\",\n \"b\":[\"\\u001b\"]}", string(got))
	var before, after any
	require.NoError(t, json.Unmarshal([]byte(in), &before))
	require.NoError(t, json.Unmarshal(got, &after))
	assert.Equal(t, before, after, "a parser reads the same")
	clean := []byte(`{"a":"b [c]"}`)
	assert.Equal(t, clean, report.JSON(clean))

	var b bytes.Buffer
	require.NoError(t, report.WriteJSON(&b, map[string]string{"a": "<\u0085>"}))
	//nolint:testifylint // the text, not what it means
	assert.Equal(t, "{\n  \"a\": \"<\\u0085>\"\n}\n", b.String())
	require.Error(t, report.WriteJSON(&b, func() {}))
}

// harmless reports what in a text a terminal or a workflow would act on.
func harmless(t *testing.T, text string) {
	t.Helper()
	require.True(t, utf8.ValidString(text), "%q", text)
	for line := range strings.SplitSeq(text, "\n") {
		require.False(t, strings.HasPrefix(strings.TrimSpace(line), "::"), "%q", line)
		require.NotContains(t, line, "##[")
		for _, r := range line {
			require.False(t, r < ' ' && r != '\t' || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x202e, "%q", line)
		}
	}
}

func FuzzText(f *testing.F) {
	for _, s := range []string{"", "a\r\n::error::x", "##[x]", "\x1b[31m", "\xe2\x80\xae", "##vso[", ": :", "\r:", "\u0085::"} {
		f.Add(s, 1)
	}
	f.Fuzz(func(t *testing.T, s string, cut int) {
		text := report.Text(s)
		harmless(t, text)
		require.NotContains(t, text, "\n")
		require.Equal(t, text, report.Text(text))
		lines := report.Lines(s)
		harmless(t, lines)
		if cut < 0 || cut > len(s) {
			cut = 0
		}
		var b bytes.Buffer
		w := report.Writer(&b)
		_, _ = io.WriteString(w, s[:cut])
		_, _ = io.WriteString(w, s[cut:])
		harmless(t, b.String())
		require.True(t, strings.HasPrefix(lines, b.String()), "%q %q", lines, b.String())
		harmless(t, strings.TrimPrefix(report.Annotation{Title: s, Message: s}.String(), "::"))
		harmless(t, report.Bounded(s, 5))
	})
}

type named string

func (n named) String() string { return "named " + string(n) }

func TestArgumentsOfAFormatCannotAddALine(t *testing.T) {
	t.Parallel()
	type kind string
	var b bytes.Buffer
	report.Fprintf(&b, "%s\t%s: %d %v %s\n", "a\nb", kind("c\td"), 7, errors.New("e\n::error::"), named("\x1b"))
	assert.Equal(t, "a\\nb\tc\\td: 7 e\\n::error:: named \\x1b\n", b.String())
}

func TestJUnitCountsItsSumsAndIsHarmless(t *testing.T) {
	t.Parallel()
	hostile := &report.JUnitMessage{Message: "\x1b[31m", Text: "a\n::error::b"}
	in := report.JUnit{Suites: []report.JUnitSuite{{
		Name: "s\u202e", Tests: 99, Started: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Cases: []report.JUnitCase{
			{Name: "ok", Took: report.JUnitTime(1500 * time.Millisecond), File: "a_test.yaml", Line: 3},
			{Name: "failed", Failure: hostile, Out: "\x1b]0;x\x07"},
			{Name: "broken", Error: hostile},
			{Name: "skipped", Skipped: hostile, Took: report.JUnitTime(500 * time.Millisecond)},
		},
	}}}
	var b bytes.Buffer
	require.NoError(t, in.Write(&b))
	harmless(t, b.String())
	var back struct {
		Suites []struct {
			Tests    int     `xml:"tests,attr"`
			Failures int     `xml:"failures,attr"`
			Errors   int     `xml:"errors,attr"`
			Skipped  int     `xml:"skipped,attr"`
			Time     float64 `xml:"time,attr"`
			Stamp    string  `xml:"timestamp,attr"`
			Cases    []struct {
				File    string `xml:"file,attr"`
				Failure *struct {
					Text string `xml:",chardata"`
				} `xml:"failure"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	require.NoError(t, xml.Unmarshal(b.Bytes(), &back))
	s := back.Suites[0]
	assert.Equal(t, []int{4, 1, 1, 1}, []int{s.Tests, s.Failures, s.Errors, s.Skipped})
	assert.InDelta(t, 2.0, s.Time, 1e-9)
	assert.Equal(t, "2026-01-02T03:04:05", s.Stamp)
	assert.Equal(t, "a_test.yaml", s.Cases[0].File)
	assert.Equal(t, "a\n:\\x3aerror::b", s.Cases[1].Failure.Text)
	assert.Error(t, in.Write(failing{}))
}
