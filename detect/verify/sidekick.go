package verify

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"

	"spire-falco/config"
	"spire-falco/detect/kube"
)

const (
	falcosidekickPort     = 2801
	falcosidekickSelector = "app.kubernetes.io/name=falcosidekick,app.kubernetes.io/component=core," +
		"app.kubernetes.io/instance=" + config.FalcosidekickRelease
	// alertsCounter is Falcosidekick's metric of received alerts by rule and pod; older versions use the second name.
	alertsCounter    = "falcosecurity_falcosidekick_falco_events_total"
	oldAlertsCounter = "falco_events"
)

// delivered counts alerts by rule and pod, over all pods of Falcosidekick.
type delivered map[[2]string]float64

// deliveries reads from each Falcosidekick pod, through the API server, which alerts it has received.
func (r *run) deliveries(ctx context.Context) (delivered, error) {
	pods, err := r.kube.Pods(ctx, r.options.Settings.Falco.Namespace, falcosidekickSelector)
	if err != nil {
		return nil, fmt.Errorf("list Falcosidekick's pods: %w", err)
	}
	sum, asked := delivered{}, 0
	for _, pod := range pods {
		if !pod.Ready() {
			continue
		}
		path := kube.ProxyPath(pod.Metadata.Namespace, pod.Metadata.Name, falcosidekickPort, "/metrics")
		raw, err := r.kube.GetRaw(ctx, path, nil)
		if err != nil {
			return nil, fmt.Errorf("read Falcosidekick's metrics: %w", err)
		}
		asked++
		sum.add(raw)
	}
	if asked == 0 {
		return nil, fmt.Errorf("no Falcosidekick pod is ready in namespace %s", r.options.Settings.Falco.Namespace)
	}
	return sum, nil
}

// add adds the counts of metrics in Prometheus' text format.
func (d delivered) add(metrics []byte) {
	lines := bufio.NewScanner(bytes.NewReader(metrics))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		name, labels, value, ok := sample(lines.Text())
		if !ok || name != alertsCounter && name != oldAlertsCounter {
			continue
		}
		d[[2]string{labels["rule"], labels["k8s_pod_name"]}] += value
	}
}

// sample reads one line of Prometheus' text format: name{label="value",...} number.
func sample(line string) (name string, labels map[string]string, value float64, ok bool) {
	if strings.HasPrefix(line, "#") {
		return "", nil, 0, false
	}
	labels = map[string]string{}
	at := strings.IndexAny(line, "{ ")
	if at < 0 {
		return "", nil, 0, false
	}
	name, rest := line[:at], line[at:]
	if strings.HasPrefix(rest, "{") {
		rest = rest[1:]
		for !strings.HasPrefix(rest, "}") {
			key, after, found := strings.Cut(rest, "=")
			quoted, err := strconv.QuotedPrefix(after)
			if !found || err != nil {
				return "", nil, 0, false
			}
			text, err := strconv.Unquote(quoted)
			if err != nil {
				return "", nil, 0, false
			}
			labels[key] = text
			rest = strings.TrimPrefix(after[len(quoted):], ",")
		}
		rest = rest[1:]
	}
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return "", nil, 0, false
	}
	value, err := strconv.ParseFloat(fields[0], 64)
	return name, labels, value, err == nil
}
