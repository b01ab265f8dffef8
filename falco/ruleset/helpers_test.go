package ruleset_test

import (
	"slices"

	"spire-falco/falco"
	"spire-falco/falco/ruleset"
)

// falco040 is the Falco whose rules most tests of this package are written in.
var falco040 = ruleset.Options{Falco: version("0.40.0")}

func version(number string) falco.Version {
	v, err := falco.Lookup(number)
	if err != nil {
		panic(err)
	}
	return v
}

// ourCodes are the codes of problems, sorted.
func ourCodes(list []ruleset.Problem) []string {
	codes := []string{}
	for _, p := range list {
		codes = append(codes, string(p.Code))
	}
	slices.Sort(codes)
	return codes
}
