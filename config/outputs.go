package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"spire-falco/charts"
	"spire-falco/falco"
)

// OutputsKey is the setting with the outputs of Falcosidekick: an object from an output's name to its keys. Source has
// each key by itself, such as falcosidekick.outputs.loki.hostport.
const OutputsKey = "falcosidekick.outputs"

// OutputValue is one key of one output of Falcosidekick.
type OutputValue struct {
	// Key below config in the chart's values, such as loki.hostport.
	Key string
	// Setting that it comes from.
	Setting string
	// Value in the type that the chart has; nil for a secret, which is read from Setting.
	Value any
}

// Output is the name of the output that the key is of.
func (v OutputValue) Output() string {
	name, _, _ := strings.Cut(v.Key, ".")
	return name
}

// Variable is the environment variable that Falcosidekick reads the key from.
func (v OutputValue) Variable() string {
	return strings.ToUpper(strings.ReplaceAll(v.Key, ".", "_"))
}

// outputSecrets are the keys of outputs that carry a credential: a password, token or key, a URL that is one, or headers,
// which may have one. They reach the pod by the Secret only.
var outputSecrets = []string{
	"aws.accesskeyid", "aws.secretaccesskey", "cliq.webhookurl", "datadog.apikey", "datadoglogs.apikey", "discord.webhookurl",
	"dynatrace.apitoken", "elasticsearch.apikey", "elasticsearch.customheaders", "elasticsearch.password", "gcp.credentials",
	"googlechat.webhookurl", "gotify.token", "grafana.apikey", "grafana.customheaders", "grafanaoncall.customheaders",
	"grafanaoncall.webhookurl", "influxdb.password", "influxdb.token", "kafka.password", "loki.apikey", "loki.customheaders",
	"mattermost.webhookurl", "mqtt.password", "n8n.password", "nodered.customheaders", "nodered.password",
	"openobserve.customheaders", "openobserve.password", "opsgenie.apikey", "otlp.metrics.headers", "otlp.traces.headers",
	"pagerduty.routingkey", "quickwit.customHeaders", "rabbitmq.url", "redis.password", "rocketchat.webhookurl", "slack.webhookurl",
	"smtp.password", "smtp.token", "splunk.customheaders", "splunk.token", "spyderbat.apikey", "sumologic.receiverURL",
	"teams.webhookurl", "telegram.token", "timescaledb.password", "wavefront.endpointtoken", "webex.webhookurl",
	"webhook.customHeaders", "yandex.accesskeyid", "yandex.secretaccesskey", "zincsearch.password",
}

// outputSettings are the keys of outputs that have a setting of their own.
var outputSettings = map[string]string{
	"slack.webhookurl":              SlackWebhookKey,
	"slack.minimumpriority":         "falcosidekick.slack.minimumPriority",
	"elasticsearch.hostport":        "falcosidekick.elasticsearch.hostPort",
	"elasticsearch.index":           "falcosidekick.elasticsearch.index",
	"elasticsearch.type":            "falcosidekick.elasticsearch.type",
	"elasticsearch.minimumpriority": "falcosidekick.elasticsearch.minimumPriority",
	"elasticsearch.username":        "falcosidekick.elasticsearch.username",
	"elasticsearch.password":        ElasticsearchPasswordKey,
}

// outputsRefused are the keys of outputs that may not be set.
var outputsRefused = map[string]string{
	"n8n.headerauthname":        "the chart does not pass it on to Falcosidekick",
	"n8n.headerauthvalue":       "the chart does not pass on the name of the header that it is for",
	"otlp.metrics.extraenvvars": "may hold any variable of Falcosidekick, credentials too",
	"otlp.traces.extraenvvars":  "may hold any variable of Falcosidekick, credentials too",
}

const minimumPriority = ".minimumpriority"

// outputKeys are the keys of every output of a chart by their name below config. An output is what has a minimum priority.
func outputKeys(chart charts.Chart) map[string]string {
	all, outputs := map[string]string{}, map[string]bool{}
	for key, kind := range charts.Keys(chart) {
		if key, ok := strings.CutPrefix(key, "config."); ok {
			all[key] = kind
			if strings.HasSuffix(key, minimumPriority) {
				outputs[OutputValue{Key: key}.Output()] = true
			}
		}
	}
	maps.DeleteFunc(all, func(key, _ string) bool { return !outputs[OutputValue{Key: key}.Output()] })
	return all
}

// outputs reads falcosidekick.outputs, and the settings that Slack and Elasticsearch have of their own.
func (l *loader) outputs(chart charts.Chart) []OutputValue {
	values := l.ownOutputs()
	if v := l.raw(OutputsKey); v != "" && v != "{}" {
		l.problem(OutputsKey, "", "must be an object from the name of an output to its keys, such as {loki: {hostport: http://loki:3100}}")
	}
	set := slices.DeleteFunc(l.src.keys(), func(key string) bool { return !strings.HasPrefix(key, OutputsKey+".") })
	var known map[string]string
	if len(set) > 0 { // most stacks need no list of keys
		if known = outputKeys(chart); len(known) == 0 { // the chart is not known, which is reported
			return values
		}
	}
	works := map[string]bool{} // the outputs with more than a minimum priority
	first := map[string]string{}
	for _, setting := range set {
		v := OutputValue{Key: strings.TrimPrefix(setting, OutputsKey+"."), Setting: setting}
		if first[v.Output()] == "" {
			first[v.Output()] = setting
		}
		works[v.Output()] = works[v.Output()] || !strings.HasSuffix(v.Key, minimumPriority)
		if l.output(&v, known) {
			values = append(values, v)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(first)) {
		own := outputSettings[name+".webhookurl"] + outputSettings[name+".hostport"]
		if own != "" && !slices.ContainsFunc(values, func(v OutputValue) bool { return v.Setting == own }) {
			l.problem(first[name], "", "needs "+own+", which switches the output "+name+" on")
		} else if own == "" && !works[name] {
			l.problem(first[name], "", "has a minimum priority alone; the output "+name+" also needs to know where alerts go; "+switchesOn(name, ownKeys(name, known)))
		}
	}
	slices.SortFunc(values, func(a, b OutputValue) int { return strings.Compare(a.Key, b.Key) })
	return values
}

// output checks one key and gives it its value. It reports whether it is right.
func (l *loader) output(v *OutputValue, known map[string]string) bool {
	before := len(l.problems)
	text, kind := l.src.Values[v.Setting], known[v.Key]
	secret := l.src.Secrets[v.Setting]
	switch {
	case kind == "":
		l.problem(v.Setting, "", wantOutput(v.Key, known))
	case outputSettings[v.Key] != "":
		l.problem(v.Setting, "", "has a setting of its own: "+outputSettings[v.Key])
	case outputsRefused[v.Key] != "":
		l.problem(v.Setting, "", "may not be set: "+outputsRefused[v.Key])
	case slices.Contains(outputSecrets, v.Key):
		if !secret && text != "" {
			l.problem(v.Setting, "", "is a secret, but stands in plain text; set it with: pulumi config set --secret "+Project+":"+v.Setting)
		} else if !secret {
			l.problem(v.Setting, "", "must not be empty; leave the setting out")
		}
	case secret:
		l.problem(v.Setting, "", "must not be a secret: it carries no credential; set it again without --secret")
	case strings.HasSuffix(v.Key, minimumPriority):
		p, err := falco.ParsePriority(text)
		if err != nil {
			l.problem(v.Setting, text, "must be one of "+priorities)
		}
		v.Value = p.Setting()
	default:
		l.text(v.Setting, text, false)
		value, want := typed(text, kind)
		if want != "" {
			l.problem(v.Setting, text, want)
		}
		v.Value = value
	}
	return len(l.problems) == before
}

// typed gives a text the type of a chart's key; want says what is allowed when it has another.
func typed(text, kind string) (value any, want string) {
	switch kind {
	case "bool":
		b, ok := parseBool(text)
		if !ok {
			return nil, "must be true or false"
		}
		return b, ""
	case "int":
		n, err := strconv.Atoi(text)
		if err != nil {
			return nil, "must be a whole number"
		}
		return n, ""
	case "str", "null":
		var list []any
		if json.Unmarshal([]byte(text), &list) == nil {
			return nil, "must be a text, not a list"
		}
		return text, ""
	}
	return nil, "has a type that cannot be set here: " + kind
}

// wantOutput tells why a key is unknown, and names the nearest.
func wantOutput(key string, known map[string]string) string {
	name := OutputValue{Key: key}.Output()
	names, own := []string{}, ownKeys(name, known)
	for k := range known {
		if n := (OutputValue{Key: k}).Output(); !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	switch {
	case len(own) == 0:
		if near := nearestOf(name, names); near != "" {
			return "no such output of this Falcosidekick; did you mean " + near + "?"
		}
		return "no such output of this Falcosidekick; it has " + strings.Join(names, ", ")
	case key == name:
		return "must be an object with keys of the output " + name + "; " + switchesOn(name, own)
	}
	if near := nearestOf(key, own); near != "" {
		return fmt.Sprintf("no such key of the output %s; did you mean %s?", name, near)
	}
	return fmt.Sprintf("no such key of the output %s; it has %s", name, strings.Join(own, ", "))
}

// ownKeys are the keys of an output, sorted.
func ownKeys(name string, known map[string]string) []string {
	var own []string
	for k := range known {
		if strings.HasPrefix(k, name+".") {
			own = append(own, k)
		}
	}
	slices.Sort(own)
	return own
}

// addresses are the last parts of keys without which Falcosidekick leaves an output off, the surest first.
var addresses = []string{
	"webhookurl", "hostport", "url", "receiverurl", "address", "host", "broker", "topicarn", "functionname", "function", "projectid",
	"bucket", "queue", "endpoint", "channel", "routingkey", "apikey", "token",
}

// switchesOn says which key of an output switches it on.
func switchesOn(name string, own []string) string {
	for _, last := range addresses {
		if key := name + "." + last; slices.ContainsFunc(own, func(k string) bool { return strings.EqualFold(k, key) }) {
			return "it is switched on by " + key
		}
	}
	return "it has " + list(own)
}

// ownOutputs are the keys of outputs that have settings of their own, where the output is on.
func (l *loader) ownOutputs() []OutputValue {
	var out []OutputValue
	add := func(key string, value any) {
		out = append(out, OutputValue{Key: key, Setting: outputSettings[key], Value: value})
	}
	slackPriority := l.priority("falcosidekick.slack.minimumPriority")
	if l.isSet(SlackWebhookKey) {
		add("slack.webhookurl", nil)
		add("slack.minimumpriority", slackPriority)
	}
	if v := l.src.Values[SlackWebhookKey]; v != "" && (!httpURL.MatchString(v) || !strings.HasPrefix(v, "http")) {
		l.problem(SlackWebhookKey, "", "must be the https:// URL of a Slack incoming webhook")
	}
	hostPort := l.matching("falcosidekick.elasticsearch.hostPort", httpURL, "a URL such as http://elasticsearch:9200, without user, password and query; a user goes into falcosidekick.elasticsearch.username, the password into the secret "+ElasticsearchPasswordKey)
	index := l.matching("falcosidekick.elasticsearch.index", indexName, "a lower-case index name")
	kind := l.matching("falcosidekick.elasticsearch.type", typeName, "a document type such as _doc")
	priority := l.priority("falcosidekick.elasticsearch.minimumPriority")
	user := l.matching("falcosidekick.elasticsearch.username", userName, "a user name without spaces and colons")
	if (user != "") != l.isSet(ElasticsearchPasswordKey) {
		l.problem("falcosidekick.elasticsearch.username", user, "must be set together with the secret "+ElasticsearchPasswordKey)
	}
	if user != "" && hostPort == "" {
		l.problem("falcosidekick.elasticsearch.hostPort", "", "is required when an Elasticsearch user is set")
	}
	if hostPort != "" {
		add("elasticsearch.hostport", hostPort)
		add("elasticsearch.index", index)
		add("elasticsearch.type", kind)
		add("elasticsearch.minimumpriority", priority)
		add("elasticsearch.username", user)
	}
	if user != "" {
		add("elasticsearch.password", nil)
	}
	return out
}

// AddOutputs takes every key in the value of OutputsKey, as JSON decodes it, into src, but for those that src has. With
// secret set, the values that must be secrets are taken for such.
func AddOutputs(src Source, tree any, secret bool) {
	addOutputs(src, OutputsKey, tree, secret)
}

func addOutputs(src Source, at string, v any, secret bool) {
	if object, ok := v.(map[string]any); ok && (len(object) > 0 || at == OutputsKey) {
		for k, item := range object {
			addOutputs(src, at+"."+k, item, secret)
		}
		return
	}
	if _, set := src.Values[at]; set || src.Secrets[at] {
		return
	}
	switch v := v.(type) {
	case nil:
		src.Values[at] = ""
	case string:
		src.Values[at] = v
	default:
		text, err := json.Marshal(v)
		if err != nil {
			return // JSON was decoded into it
		}
		src.Values[at] = string(text)
	}
	if secret && slices.Contains(outputSecrets, strings.TrimPrefix(at, OutputsKey+".")) {
		src.Secrets[at] = true
	}
}
