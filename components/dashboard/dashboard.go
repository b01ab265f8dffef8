// Package dashboard has the stack's Grafana dashboard: alerts by rule and priority, dropped events, events per second,
// and Falco's CPU and memory on each node. It uses the metrics that Falco exports when falco.metrics is on.
package dashboard

import _ "embed"

//go:embed dashboard.json
var content string

// FileName is the key of the dashboard in the ConfigMap's data.
const FileName = "spire-falco.json"

// Labels returns the labels by which Grafana's sidecar, as configured by its Helm chart, finds ConfigMaps with
// dashboards.
func Labels() map[string]string {
	return map[string]string{"grafana_dashboard": "1"}
}

// Data returns the data of the ConfigMap.
func Data() map[string]string {
	return map[string]string{FileName: content}
}
