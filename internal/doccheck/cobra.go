package doccheck

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// CheckCommands checks the commands that find returns of every page below dir against root, the program's. It returns how
// many there are, and an error for each that does not exist.
func CheckCommands(dir string, root *cobra.Command, find func(*Page) []Command) (checked int, err error) {
	pages, err := Pages(dir)
	if err != nil {
		return 0, err
	}
	var wrong []error
	for _, p := range pages {
		for _, c := range find(p) {
			checked++
			wrong = append(wrong, c.Cobra(root))
		}
	}
	return checked, errors.Join(wrong...)
}

// Cobra returns an error when the command does not exist below root, or does not have a flag that is used. Words in
// capitals are placeholders. Flags of commands that do not parse them are not checked.
func (c Command) Cobra(root *cobra.Command) error {
	command, rest := root, c.Args
	for len(rest) > 0 && command.HasSubCommands() && !strings.HasPrefix(rest[0], "-") {
		next := child(command, rest[0])
		if next == nil {
			if strings.ToUpper(rest[0]) == rest[0] {
				return nil
			}
			return fmt.Errorf("%s: %q has no command %q", c.Place, command.CommandPath(), rest[0])
		}
		command, rest = next, rest[1:]
	}
	if command.DisableFlagParsing {
		return nil
	}
	command.InitDefaultHelpFlag()
	command.InitDefaultVersionFlag()
	for _, w := range rest {
		if w == "--" {
			break
		}
		if flag := flagOf(command, w); flag == nil && len(w) > 1 && strings.HasPrefix(w, "-") {
			return fmt.Errorf("%s: %q has no flag %s", c.Place, command.CommandPath(), w)
		}
	}
	return nil
}

func child(command *cobra.Command, name string) *cobra.Command {
	for _, c := range command.Commands() {
		if c.Name() == name || c.HasAlias(name) {
			return c
		}
	}
	return nil
}

func flagOf(command *cobra.Command, w string) *pflag.Flag {
	name, _, _ := strings.Cut(w, "=")
	if long, ok := strings.CutPrefix(name, "--"); ok {
		if flag := command.Flags().Lookup(long); flag != nil {
			return flag
		}
		return command.InheritedFlags().Lookup(long)
	}
	short := strings.TrimPrefix(name, "-")
	if len(short) != 1 {
		return nil
	}
	if flag := command.Flags().ShorthandLookup(short); flag != nil {
		return flag
	}
	return command.InheritedFlags().ShorthandLookup(short)
}
