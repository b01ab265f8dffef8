package alerts_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/detect/alerts"
	"spire-falco/falco"
)

const (
	criticalAlert = `{"hostname":"node-3","output":"10:00:00.000000001: Critical Ledger opened (file=/srv/ledger.db)","output_fields":{"evt.time":1711400400000000001,"fd.name":"/srv/ledger.db","k8s.ns.name":"shop","k8s.pod.name":"web-0"},"priority":"Critical","rule":"Ledger opened","source":"syscall","tags":["x"],"time":"2024-03-25T21:00:00.000000001Z"}`
	noticeAlert   = `{"hostname":"node-3","output":"10:00:02.000000001: Notice Quiet thing (file=/x)","output_fields":{"fd.name":"/x"},"priority":"Notice","rule":"Quiet thing","source":"syscall","tags":[],"time":"2024-03-25T21:00:02.000000001Z"}`
	message       = "Mon Mar 25 21:00:00 2024: Falco version: 0.40.0 (x86_64)"
)

// quoted is a text as a JSON string.
func quoted(text string) string {
	b, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func indented(object string) string {
	var b bytes.Buffer
	if err := json.Indent(&b, []byte(object), "", "  "); err != nil {
		panic(err)
	}
	return b.String()
}

// eachLineBehind puts a head before each line.
func eachLineBehind(head, text string) string {
	return head + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n"+head) + "\n"
}

func wide(text string, low int, mark bool) string {
	var b strings.Builder
	units := utf16.Encode([]rune(text))
	if mark {
		units = append([]uint16{0xfeff}, units...)
	}
	for _, u := range units {
		pair := [2]byte{}
		pair[low], pair[1-low] = byte(u), byte(u>>8)
		b.Write(pair[:])
	}
	return b.String()
}

func gzipped(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, text)
	_ = w.Close()
	return b.String()
}

func byteArray(text string) string {
	numbers := make([]string, len(text))
	for i := range len(text) {
		numbers[i] = strconv.FormatUint(uint64(text[i]), 10)
	}
	return "[" + strings.Join(numbers, ",") + "]"
}

const (
	cri = "2024-03-25T21:00:00.100000000Z stdout "
	iso = "2024-03-25T21:00:00+0000 node-3 falco[812]: "
)

func TestAnAlertIsReadOutOf(t *testing.T) {
	t.Parallel()
	half := len(criticalAlert) / 2
	head, tail := criticalAlert[:half], criticalAlert[half:]
	docker := func(text string) string {
		return `{"log":` + quoted(text) + `,"stream":"stdout","time":"2024-03-25T21:00:00.1Z"}` + "\n"
	}
	for _, c := range []struct {
		name, in string
		alerts   int // critical ones
	}{
		{"a line of its own", criticalAlert, 1},
		{"a log of the kubelet", cri + "F " + criticalAlert + "\n", 1},
		{"a log of the kubelet with a line in two parts", cri + "P " + head + "\n" + cri + "F " + tail + "\n", 1},
		{"a log of the kubelet with a line in many parts", cri + "P " + head[:50] + "\n" + cri + "P " + head[50:] + "\n" + cri + "P " + tail[:9] + "\n" + cri + "F " + tail[9:] + "\n", 1},
		{"a log of the kubelet whose last part is empty", cri + "P " + criticalAlert + "\n" + cri + "F \n", 1},
		{"a log of the kubelet with tags", cri + "P:x " + head + "\n" + cri + "F:x:y " + tail + "\n", 1},
		{"a log of the kubelet with the other stream between the parts", cri + "P " + head + "\n2024-03-25T21:00:00.2Z stderr F " + message + "\n" + cri + "F " + tail + "\n", 1},
		{"a log of the kubelet with an offset in its times", "2024-03-25T22:00:00.1+01:00 stdout P " + head + "\n2024-03-25T22:00:00.1+01:00 stdout F " + tail + "\n", 1},
		{"a log of the kubelet with CRLF", cri + "F " + criticalAlert + "\r\n", 1},
		{"a log of the kubelet that holds formatted JSON", eachLineBehind(cri+"F ", indented(criticalAlert)), 1},
		{"a log of Docker", docker(criticalAlert + "\n"), 1},
		{"a log of Docker with a line in two parts", docker(head) + docker(tail+"\n"), 1},
		{"a log of Docker with two lines", docker(noticeAlert+"\n") + docker(criticalAlert+"\n"), 1},
		{"a log of Docker with further keys", `{"log":` + quoted(criticalAlert+"\n") + `,"stream":"stderr","attrs":{"tag":"falco"},"time":"2024-03-25T21:00:00.1Z"}`, 1},
		{"a log of Docker that is formatted", indented(docker(criticalAlert + "\n")), 1},
		{"the journal, short", "Mar 25 21:00:00 node-3 falco[812]: " + criticalAlert, 1},
		{"the journal, short, formatted JSON", eachLineBehind("Mar 25 21:00:00 node-3 falco[812]: ", indented(criticalAlert)), 1},
		{"the journal, short-precise, formatted JSON", eachLineBehind("Mar 25 21:00:00.123456 node-3 falco[812]: ", indented(criticalAlert)), 1},
		{"the journal, short-iso", iso + criticalAlert, 1},
		{"the journal, short-iso, formatted JSON", eachLineBehind(iso, indented(criticalAlert)), 1},
		{"the journal, JSON", `{"__CURSOR":"s=1","PRIORITY":"2","SYSLOG_IDENTIFIER":"falco","MESSAGE":` + quoted(criticalAlert) + `}`, 1},
		{"the journal, JSON with a message as bytes", `{"PRIORITY":"2","MESSAGE":` + byteArray(criticalAlert) + `,"_PID":"8"}`, 1},
		{"the journal, JSON formatted", indented(`{"PRIORITY":"2","MESSAGE":` + quoted(criticalAlert) + `}`), 1},
		{"the journal, JSON sequence", "\x1e" + `{"PRIORITY":"2","MESSAGE":` + quoted(criticalAlert) + `}`, 1},
		{"the journal, server-sent events", `data: {"PRIORITY":"2","MESSAGE":` + quoted(criticalAlert) + `}`, 1},
		{"the journal, export format", "__REALTIME_TIMESTAMP=1711400400000000\nMESSAGE=" + criticalAlert + "\n_PID=8\n", 1},
		{"the journal with the text output", "Mar 25 21:00:00 node-3 falco[812]: 21:00:00.000000001: Critical Ledger opened (file=/srv/ledger.db)", 1},
		{"the journal, JSON with the text output", `{"PRIORITY":"2","MESSAGE":"21:00:00.000000001: Critical Ledger opened"}`, 1},
		{"syslog with a priority", "<130>Mar 25 21:00:00 node-3 falco: " + criticalAlert, 1},
		{"syslog of RFC 5424", "<130>1 2024-03-25T21:00:00Z node-3 falco 812 - - " + criticalAlert, 1},
		{"kubectl logs with a prefix", "[pod/falco-abc12/falco] " + criticalAlert, 1},
		{"kubectl logs with a time", "2024-03-25T21:00:00.1Z " + criticalAlert, 1},
		{"kubectl logs with a prefix and a time, formatted JSON", eachLineBehind("[pod/falco-abc12/falco] 2024-03-25T21:00:00.1Z ", indented(criticalAlert)), 1},
		{"kubectl logs of two pods that are mixed, formatted JSON", mixed(
			strings.SplitAfter(eachLineBehind("[pod/a/falco] ", indented(criticalAlert)), "\n"),
			strings.SplitAfter(eachLineBehind("[pod/b/falco] ", indented(criticalAlert)), "\n")), 2},
		{"a log of compose", "falco-1  | " + criticalAlert, 1},
		{"a log of stern", "falco-abc12 falco " + criticalAlert, 1},
		{"formatted JSON", indented(criticalAlert), 1},
		{"formatted JSON, twice", indented(criticalAlert) + "\n" + indented(criticalAlert) + "\n", 2},
		{"formatted JSON with CRLF", strings.ReplaceAll(indented(criticalAlert), "\n", "\r\n"), 1},
		{"formatted JSON with tabs", strings.ReplaceAll(indented(criticalAlert), "  ", "\t"), 1},
		{"formatted JSON in colours", strings.NewReplacer(`"priority"`, "\x1b[34;1m\"priority\"\x1b[0m", `"Critical"`, "\x1b[0;32m\"Critical\"\x1b[0m").Replace(indented(criticalAlert)), 1},
		{"JSON in colours", strings.ReplaceAll(criticalAlert, ":", "\x1b[1;39m:\x1b[0m"), 1},
		{"a line with two", criticalAlert + criticalAlert, 2},
		{"a line with two and a blank between", noticeAlert + " " + criticalAlert, 1},
		{"a line with two and a comma between", criticalAlert + "," + noticeAlert, 1},
		{"an array on a line", "[" + noticeAlert + "," + criticalAlert + "]", 1},
		{"an array, formatted", indented("[" + noticeAlert + "," + criticalAlert + "]"), 1},
		{"an object with an array", `{"items":[` + noticeAlert + `,` + criticalAlert + `],"next":null}`, 1},
		{"an array that is cut off behind it", "[" + criticalAlert + "," + noticeAlert[:40], 1},
		{"a line with a message before it", "Mon Mar 25 21:00:00 2024: a message of Falco without a line end" + criticalAlert, 1},
		{"a line with a message behind it", criticalAlert + message, 1},
		{"a line with a message that has a brace before it", "config {a: b, {" + criticalAlert, 1},
		{"a line with a message that has an object before it", `set {"a":[1,{}]} and {} then ` + criticalAlert, 1},
		{"a line behind one that ends in a brace", "config: {\n" + criticalAlert + "\n", 1},
		{"a line behind one that is cut off", noticeAlert[:100] + "\n" + criticalAlert + "\n", 1},
		{"a line behind one that is cut off between values", noticeAlert[:strings.Index(noticeAlert, `"priority"`)] + "\n" + criticalAlert + "\n", 1},
		{"a line behind one that is cut off before a value", `{"output_fields":` + "\n" + criticalAlert + "\n", 1},
		{"Falcosidekick's payload", `{"uuid":"7c4a2e7e","output":"10:00:00.1: Critical x","priority":"Critical","rule":"x","time":"2024-03-25T21:00:00Z","output_fields":{"a":"b"},"source":"syscall","tags":["t"],"hostname":"n"}`, 1},
		{"Falcosidekick's log", "2024/03/25 21:00:00 [DEBUG] : Falco's payload : " + criticalAlert, 1},
		{"a CloudEvent", `{"specversion":"1.0","type":"falco.rule.output.v1","data":` + criticalAlert + `}`, 1},
		{"a document of Elasticsearch", `{"hits":{"hits":[{"_index":"falco","_source":` + criticalAlert + `}]}}`, 1},
		{"an alert of Alertmanager", `[{"labels":{"rule":"Ledger opened","priority":"critical","source":"syscall"},"annotations":{"info":"x"}}]`, 1},
		{"a record of a shipper that keeps the line beside its keys", `{"log":` + quoted(criticalAlert) + `,"stream":"stdout",` + criticalAlert[1:], 1},
		{"a record of a shipper with the line as a string", `{"@timestamp":"x","message":` + quoted(criticalAlert) + `}`, 1},
		{"a string in a string", `{"MESSAGE":` + quoted(`{"log":`+quoted(criticalAlert+"\n")+`,"stream":"stdout"}`) + `}`, 1},
		{"a JSON string", quoted(criticalAlert), 1},
		{"a message with escaped JSON", `level=info msg=` + quoted(criticalAlert), 1},
		{"a byte order mark", "\ufeff" + criticalAlert, 1},
		{"a byte order mark in the middle", noticeAlert + "\n\ufeff" + criticalAlert + "\n", 1},
		{"CRLF", message + "\r\n" + criticalAlert + "\r\n", 1},
		{"line ends of a carriage return", message + "\r" + criticalAlert + "\r" + criticalAlert + "\r", 2},
		{"UTF-16, little endian", wide(message+"\r\n"+criticalAlert+"\r\n", 0, true), 1},
		{"UTF-16, big endian", wide(message+"\r\n"+criticalAlert+"\r\n", 1, true), 1},
		{"UTF-16 without a mark", wide(criticalAlert, 0, false), 1},
		{"UTF-16, big endian without a mark", wide(criticalAlert, 1, false), 1},
		{"UTF-16 that was added to UTF-8", message + "\n" + wide(criticalAlert+"\n", 0, true), 1},
		{"NUL bytes before it", strings.Repeat("\x00", 4096) + criticalAlert, 1},
		{"NUL bytes in it", strings.ReplaceAll(criticalAlert, ":", "\x00:\x00"), 1},
		{"a time without a colon in its offset", strings.Replace(criticalAlert, `000001Z"`, `000001+0000"`, 1), 1},
		{"a time that is no time", strings.Replace(criticalAlert, `"2024-03-25T21:00:00.000000001Z"`, `"yesterday"`, 1), 1},
		{"a time that is a number", strings.Replace(criticalAlert, `"2024-03-25T21:00:00.000000001Z"`, `1711400400`, 1), 1},
		{"no time", strings.Replace(criticalAlert, `,"time":"2024-03-25T21:00:00.000000001Z"`, ``, 1), 1},
		{"a key that is there twice, the first one Critical", strings.Replace(criticalAlert, `"priority":"Critical"`, `"priority":"Critical","priority":"Debug"`, 1), 1},
		{"a key that is there twice, the second one Critical", strings.Replace(criticalAlert, `"priority":"Critical"`, `"priority":"Debug","priority":"Critical"`, 1), 1},
		{"a priority in lower case", strings.Replace(criticalAlert, `"Critical"`, `"critical"`, 1), 1},
		{"a priority in upper case", strings.Replace(criticalAlert, `"Critical"`, `"CRITICAL"`, 1), 1},
		{"a priority with blanks", strings.Replace(criticalAlert, `"Critical"`, `" Critical\n"`, 1), 1},
		{"a priority that is escaped", strings.Replace(criticalAlert, `"Critical"`, `"\u0043ritica\u006C"`, 1), 1},
		{"a priority in colours that are escaped", strings.Replace(criticalAlert, `"Critical"`, `"\u001b[31mCritical\u001b[0m"`, 1), 1},
		{"keys in another case", strings.NewReplacer(`"priority"`, `"Priority"`, `"rule"`, `"RULE"`).Replace(criticalAlert), 1},
		{"keys that are escaped", strings.NewReplacer(`"priority"`, `"\u0070riority"`, `"rule"`, `"r\u0075le"`).Replace(criticalAlert), 1},
		{"two that a torn write made one", strings.Replace(criticalAlert, `"priority":"Critical"`, `"priority":"Notice"`, 1), 1},
		{"the text output", "12:00:00.0: Critical Ledger opened (file=/srv/ledger.db)\n", 1},
		{"the text output with ISO 8601 times", "2024-03-25T21:00:00.000000001+0000: Critical Ledger opened\n", 1},
		{"the text output behind a message", "a message12:00:00.123456789: Critical Ledger opened\n", 1},
		{"the text output, two on a line", "12:00:00.1: Notice a b12:00:00.2: Critical c d\n", 1},
		{"the text output in a log of the kubelet in parts", cri + "P 12:00:00.0: Crit\n" + cri + "F ical Ledger opened\n", 1},
		{"the text output in a log of Docker in parts", docker("12:00:00.0: Crit") + docker("ical Ledger opened\n"), 1},
		{"a file of gzip", gzipped(message + "\n" + criticalAlert + "\n"), 1},
		{"invalid UTF-8", strings.Replace(criticalAlert, "ledger.db", "\xff\xc3.db", 2), 1},
		{"raw control characters", strings.Replace(criticalAlert, "ledger.db", "\x01\t\x1b[2J.db", 2), 1},
		{"a wrapper that is nested deeply", strings.Repeat(`{"a":`, 300) + criticalAlert + strings.Repeat(`}`, 300), 1},
		{"a line of 3 MiB", strings.Repeat("x", 3<<20) + criticalAlert + strings.Repeat("y", 3<<20), 1},
		{"an array of 3 MiB", "[" + strings.Repeat(noticeAlert+",", 3<<20/len(noticeAlert)) + criticalAlert + "]", 1},
		{"an object of 3 MiB", `{"items":[` + strings.Repeat(noticeAlert+",", 3<<20/len(noticeAlert)) + criticalAlert + "]}", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, follow := range []bool{false, true} {
				if follow && strings.HasPrefix(c.in, "\x1f\x8b") {
					continue // what is compressed does not grow
				}
				found := 0
				count := func(l alerts.Line) {
					if l.Alert != nil && l.Alert.Priority == falco.PriorityCritical {
						found++
					}
				}
				if follow { // byte by byte, as a live log may come
					r := alerts.NewReader("live", count)
					for i := range len(c.in) {
						_, _ = io.WriteString(r, c.in[i:i+1])
					}
					r.End()
				} else {
					require.NoError(t, alerts.Scan("a.log", strings.NewReader(c.in), count))
				}
				assert.Equal(t, c.alerts, found, "byte by byte: %t", follow)
			}
			err := gate(c.in, alerts.Filter{Since: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)})
			var stopped *alerts.GateError
			require.ErrorAs(t, err, &stopped)
			assert.Equal(t, c.alerts, stopped.Count)
		})
	}
}

func mixed(a, b []string) string {
	var out strings.Builder
	for i := range a {
		out.WriteString(a[i])
		out.WriteString(b[i])
	}
	return out.String()
}

// gate is what --input - --fail-on critical ends with.
func gate(in string, filter alerts.Filter) error {
	stop := falco.PriorityCritical
	return alerts.Run(context.Background(), alerts.Options{Input: "-", Stdin: strings.NewReader(in), Format: alerts.JSON, FailOn: &stop, Filter: filter}, io.Discard, io.Discard)
}

// alsoRead stands for an alert that is cut off behind its output, which is read as the text output.
const alsoRead = "read as well"

func TestWhatCannotBeReadStopsTheGate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, in, want string }{
		{"an alert that is cut off in its priority", criticalAlert[:strings.Index(criticalAlert, `"Critical"`)+5], alsoRead},
		{"an alert that is cut off before its priority", criticalAlert[:60], "is cut off"},
		{"an alert that is cut off in its first key", `{"hostna`, "an alert is cut off"},
		{"an alert that is cut off in an array", "[" + noticeAlert + "," + criticalAlert[:60], "is cut off"},
		{"an alert that is cut off in a log of Docker", `{"log":` + quoted(criticalAlert)[:200], alsoRead},
		{"an alert without its beginning", criticalAlert[70:], "has the key rule"},
		{"an alert whose end is another line", "x\n" + criticalAlert[:50] + "\n" + criticalAlert[50:], ":3: "},
		{"an alert without a rule", `{"priority":"Critical","output":"x","output_fields":{}}`, "it has no rule"},
		{"an alert without a priority", `{"rule":"R","output":"x","output_fields":{}}`, "it has no priority"},
		{"an alert with an unknown priority", `{"rule":"R","priority":"Cr1tical"}`, `unknown priority "Cr1tical"`},
		{"an alert with a number for a priority", `{"rule":"R","priority":2}`, `unknown priority "2"`},
		{"an alert with a misspelt key", `{"rule":"R","priorty":"Critical"}`, "names the priority Critical"},
		{"a dictionary of Python", `{'priority': 'Critical', 'rule': 'R'}`, "'rule'"},
		{"YAML", "priority: Critical\nrule: R\n", "names the priority Critical"},
		{"CSV", `"{""priority"":""Critical"",""rule"":""R""}"`, "has the key rule"},
		{"a text alert with a time that is none", "1x:00:0: Critical Ledger opened", "names the priority Critical"},
		{"a text alert in another case", "x: CRITICAL Ledger opened", "names the priority Critical"},
		{"Critical with escapes", `x \u0043\u0072itical y`, "names the priority Critical"},
		{"Critical with escaped escapes", `x \\u0043r\\x69tical y`, "names the priority Critical"},
		{"Critical in colours", "x C\x1b[31mritical y", "names the priority Critical"},
		{"Emergency", "emergency", "names the priority Emergency"},
		{"Critical in the value of another object", `{"level":"critical","msg":"x"}`, "names the priority Critical"},
		{"Critical in a key of another object", `{"critical":1}`, "names the priority Critical"},
		{"Critical in a string of many strings", wrapped(criticalAlert, 9), "in too many wrappers"},
		{"a message that journalctl omitted", `{"PRIORITY":"2","MESSAGE":null}`, "journalctl omits a long MESSAGE: call it with --all"},
		{"a file of zstd", "\x28\xb5\x2f\xfd\x04\x00", "compressed by zstd"},
		{"a file of the journal", "LPKSHHRH\x00\x00", "journalctl -o cat"},
		{"an alert longer than 1 MiB", `{"rule":"R","output":"` + strings.Repeat("x", 1<<20) + `","priority":"Critical"}`, "longer than 1 MiB"},
		{"Critical far behind in a long line", strings.Repeat("x", 1<<20-4) + "critical" + strings.Repeat("x", 1<<20), "names the priority Critical"},
		{"a string over two lines", strings.Replace(criticalAlert, "Ledger opened (", "Ledger\nopened (", 1), "is cut off"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if c.want == alsoRead {
				var stopped *alerts.GateError
				require.ErrorAs(t, gate(c.in, alerts.Filter{Rules: []string{"other"}, Pods: []string{"other"}, Since: time.Now()}), &stopped)
				return
			}
			err := gate(message+"\n"+c.in+"\n"+noticeAlert+"\n", alerts.Filter{})
			var unread *alerts.UnreadError
			if !errors.As(err, &unread) {
				err := gate(c.in, alerts.Filter{})
				require.ErrorAs(t, err, &unread)
			}
			assert.Contains(t, unread.Error(), c.want)
			err = gate(c.in, alerts.Filter{Rules: []string{"other"}, Pods: []string{"other"}, Since: time.Now()})
			require.ErrorAs(t, err, &unread, "no filter keeps out what is not understood")
		})
	}
}

func wrapped(text string, times int) string {
	for range times {
		text = `{"m":` + quoted(text) + `}`
	}
	return text
}

func TestTheGateStaysOpenFor(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, in string }{
		{"nothing", ""},
		{"messages of Falco", message + "\nMon Mar 25 21:00:00 2024:    /etc/falco/falco_rules.yaml | schema validation: ok\n"},
		{"alerts of a lesser priority", noticeAlert + "\n" + cri + "F " + noticeAlert + "\n"},
		{"a lesser alert about a file that is named critical", strings.ReplaceAll(noticeAlert, "/x", "/srv/Critical.txt")},
		{"a lesser alert whose command line holds an alert", strings.Replace(noticeAlert, `"fd.name":"/x"`, `"proc.cmdline":`+quoted("echo "+criticalAlert), 1)},
		{"a lesser alert of the text output about a file that is named critical", "12:00:00.0: Notice Quiet thing (file=/srv/Critical.txt)"},
		{"a text output with braces", `12:00:00.0: Notice Quiet thing (cmd=sh -c {echo,{"a":1}} ${x})`},
		{"another object", `{"level":"info","msg":"x {y}","n":[1,2,{"a":null}]}`},
		{"another object that is cut off", `{"level":"info","msg":"x`},
		{"braces", "{{}}{ } {\"a\"} }{"},
		{"lesser priorities that are cut off as messages", "x: Warning y"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			require.NoError(t, gate(c.in, alerts.Filter{}))
		})
	}
}

func TestWhatCannotBeReadIsReportedWithItsCountAndFirstPlace(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.log")
	require.NoError(t, os.WriteFile(path, []byte(message+"\n"+criticalAlert[:60]+"\n"+criticalAlert[:70]+"\n"+noticeAlert+"\n"), 0o600))
	t.Run("as the error of the gate", func(t *testing.T) {
		t.Parallel()
		_, _, err := read(t, alerts.Options{Input: path, FailOn: priority(t, "critical")})
		require.ErrorContains(t, err, "2 places that are or may be alerts cannot be read; the first: "+path+":2: an alert is cut off: {\"hostname\"")
	})
	t.Run("as a warning without a gate", func(t *testing.T) {
		t.Parallel()
		_, notes, err := read(t, alerts.Options{Input: path})
		require.NoError(t, err)
		assert.Contains(t, notes, "2 places")
		assert.Contains(t, notes, path+":2: ")
	})
	t.Run("as a warning beside an alert that stops", func(t *testing.T) {
		t.Parallel()
		_, notes, err := read(t, alerts.Options{Input: path, FailOn: priority(t, "notice")})
		var stopped *alerts.GateError
		require.ErrorAs(t, err, &stopped)
		assert.Contains(t, notes, "2 places")
	})
	t.Run("a mention of a priority counts only for a gate that it would stop", func(t *testing.T) {
		t.Parallel()
		for _, failOn := range []string{"emergency", "warning"} {
			_, _, err := read(t, alerts.Options{Input: "-", Stdin: strings.NewReader("x: Warning y\n"), FailOn: priority(t, failOn)})
			assert.Equal(t, failOn == "warning", err != nil, failOn)
		}
	})
}

func TestAnAlertOfTheTextOutputIsShownWithWhatIsKnown(t *testing.T) {
	t.Parallel()
	in := "12:00:00.5: Critical Ledger opened (cmd=sh {\"a\":1})\n2024-03-25T21:00:00.5+0000: Warning \x1b]0;x\x07 y\n"
	table, _, err := read(t, alerts.Options{Input: "-", Stdin: strings.NewReader(in)})
	require.NoError(t, err)
	assert.Regexp(t, `(?m)^12:00:00.5 +Critical +- +unknown +Ledger opened \(cmd=sh \{"a":1\}\)$`, table)
	assert.Regexp(t, `(?m)^2024-03-25 21:00:00.500 +Warning +- +unknown +\\x1b\]0;x\\x07 y$`, table)
	lines, _, err := read(t, alerts.Options{Input: "-", Stdin: strings.NewReader(in), Format: alerts.JSON})
	require.NoError(t, err)
	assert.Equal(t, //nolint:testifylint // the text, not what it means
		`{"output":"12:00:00.5: Critical Ledger opened (cmd=sh {\"a\":1})","priority":"Critical"}
{"output":"2024-03-25T21:00:00.5+0000: Warning \u001b]0;x\u0007 y","priority":"Warning","time":"2024-03-25T21:00:00.5Z"}
`, lines)
}

func TestWhatAnAlertHoldsReachesNoTerminalRaw(t *testing.T) {
	t.Parallel()
	hostile := "\x1b[2J\u202e\u009b\x7f\r\n::error::x ##[error]y"
	alert := func(s string) string {
		q := quoted(s)
		return `{"hostname":` + q + `,"output":` + q + `,"output_fields":{"proc.cmdline":` + q + `,"k8s.pod.name":` + q + `},"priority":"Critical","rule":` + q + `,"time":` + q + `}`
	}
	// A shipper may have undone the escapes.
	raw := strings.NewReplacer(`\u001b`, "\x1b", `\u007f`, "\x7f", `\r`, "\r").Replace(alert(hostile))
	for _, in := range []string{alert(hostile), raw, "12:00:00.0: Critical " + strings.ReplaceAll(hostile, "\n", " "), "12: Critical " + hostile} {
		for _, format := range []alerts.Format{alerts.Table, alerts.Wide, alerts.JSON} {
			out, notes, err := read(t, alerts.Options{Input: "-", Stdin: strings.NewReader(in), Format: format, FailOn: priority(t, "critical"), GitHub: true})
			require.Error(t, err)
			for _, text := range []string{out, strings.ReplaceAll(notes, "::error title=", ""), err.Error()} {
				assert.NotRegexp(t, "[\x00-\x09\x0b-\x1f\x7f\u0080-\u009f\u202a-\u202e]", text, format)
				assert.NotContains(t, text, "##[", format)
				for line := range strings.Lines(text) {
					assert.False(t, strings.HasPrefix(strings.TrimSpace(line), "::"), line)
				}
			}
		}
	}
}

// Time and memory for inputs that would make a reader which looks back, or keeps what it reads, fail.
func TestReadingTakesTimeAndMemoryInProportion(t *testing.T) {
	unit := 1 << 20
	if raceDetector {
		unit = 1 << 17
	}
	docker := `{"log":` + quoted(noticeAlert+"\n") + `,"stream":"stdout","time":"x"}` + "\n"
	for _, c := range []struct{ name, unit string }{
		{"braces", "{"},
		{"objects that open", `{"a":`},
		{"objects that open with blanks", `{ "a" : [ `},
		{"arrays", "["},
		{"quotes", `"`},
		{"backslashes", `\`},
		{"escaped quotes", `{\"`},
		{"a long line", "x"},
		{"empty lines", "\n"},
		{"carriage returns", "\r"},
		{"alerts on a line", noticeAlert},
		{"alerts of Docker", docker},
		{"text alerts on a line", "12:00:00.1: Notice a b"},
		{"cut off alerts", `{"hostname":"` + "\n"},
		{"cut off alerts on a line", `{"hostname":}`},
		{"Critical on a line", "critical"},
		{"parts", cri + "P x\n"},
		{"escapes", `\u0043`},
		{"NUL bytes", "\x00"},
		{"byte order marks", "\ufeff"},
		{"colours", "\x1b[3"},
		{"times", "12:00:00.1: "},
		{"strings", `{"aaaaaaaaaa":"{\"a\":\"{`},
		{"wrapped", `{"log":"{\"log\":\"{`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var took [2]time.Duration
			for i, size := range []int{unit, 4 * unit} {
				begun := processorTime(t)
				held := &repeated{unit: c.unit, left: size}
				require.NoError(t, alerts.Scan("x", held, func(alerts.Line) {}))
				took[i] = processorTime(t) - begun
				if i == 1 {
					assert.Less(t, held.most, uint64(256<<20), "memory, with what the collector has not taken yet")
				}
			}
			t.Logf("%s, %s", took[0], took[1])
			assert.Less(t, took[1], 10*took[0]+time.Second, "four times the size")
		})
	}
}

// repeated is a reader of a long input that does not exist, and measures the heap meanwhile.
type repeated struct {
	unit  string
	left  int
	at    int
	most  uint64
	reads int
}

func (r *repeated) Read(p []byte) (int, error) {
	if r.left <= 0 {
		return 0, io.EOF
	}
	if r.reads++; r.reads%8 == 0 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		r.most = max(r.most, m.HeapAlloc)
	}
	n := min(len(p), r.left)
	for i := range n {
		p[i] = r.unit[r.at]
		r.at = (r.at + 1) % len(r.unit)
	}
	r.left -= n
	return n, nil
}
