package host

import (
	"bytes"
	"fmt"

	"gopkg.in/yaml.v3"
)

// configFile is in config.d. Its name sorts after those of Falco's package and falcoctl (engine-kind-falcoctl.yaml,
// falco.container_plugin.yaml), because a later file replaces whole top-level keys.
const configFile = "/etc/falco/config.d/spire-falco.yaml"

const rotateFile = "/etc/logrotate.d/spire-falco"

type enabled struct {
	Enabled bool `yaml:"enabled"`
}

// falcoConfig has whole top-level keys, because Falco replaces them instead of merging, and no lists, to which Falco
// appends since 0.41.
type falcoConfig struct {
	Engine           engine     `yaml:"engine"`
	WatchConfigFiles bool       `yaml:"watch_config_files"`
	Priority         string     `yaml:"priority"`
	JSONOutput       bool       `yaml:"json_output"`
	JSONTags         bool       `yaml:"json_include_tags_property"`
	StdoutOutput     enabled    `yaml:"stdout_output"`
	SyslogOutput     enabled    `yaml:"syslog_output"`
	FileOutput       fileOutput `yaml:"file_output"`
	HTTPOutput       httpOutput `yaml:"http_output"`
	Webserver        webserver  `yaml:"webserver"`
	Metrics          metrics    `yaml:"metrics"`
}

type engine struct {
	Kind       string     `yaml:"kind"`
	ModernEBPF modernEBPF `yaml:"modern_ebpf"`
}

type modernEBPF struct {
	CPUsForEachBuffer int  `yaml:"cpus_for_each_buffer"`
	BufSizePreset     int  `yaml:"buf_size_preset"`
	DropFailedExit    bool `yaml:"drop_failed_exit"`
}

type fileOutput struct {
	Enabled   bool   `yaml:"enabled"`
	KeepAlive bool   `yaml:"keep_alive"`
	Filename  string `yaml:"filename,omitempty"`
}

type httpOutput struct {
	Enabled bool   `yaml:"enabled"`
	URL     string `yaml:"url,omitempty"`
}

type webserver struct {
	Enabled                  bool   `yaml:"enabled"`
	ListenAddress            string `yaml:"listen_address"`
	ListenPort               int    `yaml:"listen_port"`
	HealthzEndpoint          string `yaml:"k8s_healthz_endpoint"`
	PrometheusMetricsEnabled bool   `yaml:"prometheus_metrics_enabled"`
	SSLEnabled               bool   `yaml:"ssl_enabled"`
}

type metrics struct {
	Enabled             bool   `yaml:"enabled"`
	Interval            string `yaml:"interval"`
	OutputRule          bool   `yaml:"output_rule"`
	RulesCounters       bool   `yaml:"rules_counters_enabled"`
	ResourceUtilization bool   `yaml:"resource_utilization_enabled"`
	StateCounters       bool   `yaml:"state_counters_enabled"`
	KernelEventCounters bool   `yaml:"kernel_event_counters_enabled"`
	LibbpfStats         bool   `yaml:"libbpf_stats_enabled"`
	PluginsMetrics      bool   `yaml:"plugins_metrics_enabled"`
}

// renderConfig returns Falco's configuration for args with defaults filled in.
func renderConfig(a *Args) (string, error) {
	c := falcoConfig{
		// Two CPUs a buffer is Falco's own default.
		Engine: engine{Kind: "modern_ebpf", ModernEBPF: modernEBPF{CPUsForEachBuffer: 2, BufSizePreset: a.BufferPreset}},
		// Files are switched together and Falco is restarted once; a reload in between would see only some of them.
		WatchConfigFiles: false,
		Priority:         a.Priority,
		JSONOutput:       true,
		JSONTags:         true,
		StdoutOutput:     enabled{false}, // the unit discards stdout
		SyslogOutput:     enabled{a.Output.Syslog},
		// Without keep_alive Falco opens the file for each alert, so rotation needs no signal.
		FileOutput: fileOutput{Enabled: a.Output.File != "", Filename: a.Output.File},
		HTTPOutput: httpOutput{Enabled: a.Output.HTTP != "", URL: a.Output.HTTP},
		Webserver: webserver{
			Enabled: true, ListenAddress: "127.0.0.1", ListenPort: a.WebserverPort,
			HealthzEndpoint: "/healthz", PrometheusMetricsEnabled: true,
		},
		// The metrics contain the engine and the SHA-256 of every loaded file, which proves that these rules are live. The
		// collectors are off: they read the inspector, which is not open yet when the webserver starts to answer.
		Metrics: metrics{Enabled: true, Interval: "1h", RulesCounters: true},
	}
	var out bytes.Buffer
	out.WriteString("# Written by spire-falco; it is overwritten. Settings of your own go into a file whose name sorts after this one.\n")
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(c); err != nil {
		return "", fmt.Errorf("write Falco's configuration: %w", err)
	}
	return out.String(), nil
}

// renderRotate returns the logrotate configuration of the alert file.
func renderRotate(o Output) string {
	return fmt.Sprintf(`# Written by spire-falco. Falco opens the file anew for each alert and needs no signal.
%s {
	su root root
	daily
	maxsize %dM
	rotate %d
	missingok
	notifempty
	compress
	delaycompress
	create 0600 root root
}
`, o.File, o.RotateMB, o.RotateKeep)
}
