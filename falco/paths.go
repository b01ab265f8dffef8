package falco

// Where Falco's image keeps what it loads.
const (
	// RulesDir is Falco's directory for rule files of one's own.
	RulesDir = "/etc/falco/rules.d"
	// StockRulesFile is the rule file that the image carries.
	StockRulesFile = "/etc/falco/falco_rules.yaml"
	// LocalRulesFile is where Falco looks for local changes to the stock rules; the image has none.
	LocalRulesFile = "/etc/falco/falco_rules.local.yaml"
)
