// Package dashboard is the Grafana dashboard of the stack as code: alerts by rule and priority, dropped events, events per
// second, and Falco's CPU and memory on each node. It reads the metrics that Falco gives when falco.metrics is on.
package dashboard

import _ "embed"

//go:embed dashboard.json
var content string

// FileName is the name of the dashboard in the ConfigMap's data.
const FileName = "spire-falco.json"

// Labels are how Grafana's sidecar, as its Helm chart sets it up, finds ConfigMaps with dashboards.
func Labels() map[string]string {
	return map[string]string{"grafana_dashboard": "1"}
}

// Data is the data of the ConfigMap.
func Data() map[string]string {
	return map[string]string{FileName: content}
}
