//go:build linux

package main

import (
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"mdatp-offline-agent/agent"
)

// configCommands are those that look at one setting and change the local ones. The
// last two are the real product's own, and no others of it are known that would mean
// something here.
func (p *program) configCommands() []*cli.Command {
	value := func(usage string) []cli.Flag { return []cli.Flag{&cli.StringFlag{Name: "value", Usage: usage}} }
	return []*cli.Command{
		command(cli.Command{Name: "get", Usage: "show the value in force of one setting", ArgsUsage: keyArgument, Action: p.getConfig}),
		command(cli.Command{Name: "set", Usage: "set a local setting; the managed configuration wins over it", ArgsUsage: keyArgument + " VALUE", Action: p.setConfig}),
		command(cli.Command{Name: "unset", Usage: "take a local setting back", ArgsUsage: keyArgument, Action: p.unsetConfig}),
		command(cli.Command{Name: "proxy", Usage: "the proxy for the cloud", Subcommands: []*cli.Command{
			command(cli.Command{Name: "set", Usage: "set cloudService.proxy locally", Action: p.setNamed("cloudService.proxy"), Flags: value("the `URL` of the proxy")}),
		}}),
		command(cli.Command{Name: "scan-after-definition-update", Usage: "set antivirusEngine.scanAfterDefinitionUpdate locally, for the real product; the agent scans nothing",
			Action: p.setNamed("antivirusEngine.scanAfterDefinitionUpdate"), Flags: value("`STATE`, enabled or disabled")}),
	}
}

func (p *program) getConfig(c *cli.Context) error {
	if err := arguments(c, 1, "one name, such as agent.keep"); err != nil {
		return err
	}
	v, err := p.agent().ConfigValue(c.Args().First())
	if err != nil {
		return err
	}
	return p.show(c, v, func(w io.Writer) { fmt.Fprintln(w, v.Text) })
}

func (p *program) setConfig(c *cli.Context) error {
	if err := arguments(c, 2, "a name and a value, such as agent.keep 3"); err != nil {
		return err
	}
	v, err := p.agent().SetLocal(c.Context, c.Args().Get(0), c.Args().Get(1))
	return p.changed(c, v, err)
}

func (p *program) unsetConfig(c *cli.Context) error {
	if err := arguments(c, 1, "one name, such as agent.keep"); err != nil {
		return err
	}
	v, err := p.agent().UnsetLocal(c.Context, c.Args().First())
	return p.changed(c, v, err)
}

// setNamed sets one key to what --value says, as the real product's commands do.
func (p *program) setNamed(key string) cli.ActionFunc {
	return func(c *cli.Context) error {
		if err := arguments(c, 0, "no arguments"); err != nil {
			return err
		}
		if err := needed(c, "value"); err != nil {
			return err
		}
		v, err := p.agent().SetLocal(c.Context, key, c.String("value"))
		return p.changed(c, v, err)
	}
}

// changed answers in the words of the real product, and says below what there is to
// say.
func (p *program) changed(c *cli.Context, v agent.ConfigValue, err error) error {
	if err != nil {
		return err
	}
	return p.show(c, v, func(w io.Writer) {
		fmt.Fprintln(w, "Configuration property updated")
		for _, note := range v.Notes {
			fmt.Fprintf(w, "warning: %s\n", note)
		}
	})
}
