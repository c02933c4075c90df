package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/causewayhq/causeway/server/define"
	"github.com/causewayhq/causeway/server/store"
)

type bannerOutput struct {
	Enabled         bool   `json:"enabled"`
	Message         string `json:"message"`
	BackgroundColor string `json:"background_color"`
}

func (a *app) bannerCommand() *cobra.Command {
	return group("banner", "Announce something to everybody who works in a workspace",
		"  causeway-server banner set \"Maintenance on Friday from 18:00\"\n  causeway-server banner list\n  causeway-server banner clear",
		a.bannerSet(), a.bannerList(), a.bannerClear())
}

func (a *app) bannerSet() *cobra.Command {
	var color string
	command := &cobra.Command{
		Use: "set MESSAGE...", Short: "Replace all banners by these", Args: cobra.MinimumNArgs(1),
		Long: `Replace all banners by these, each one argument. Login shells in workspaces begin
with them. Agents ask for them each two minutes.`,
		Example: "  causeway-server banner set \"Maintenance on Friday from 18:00\"\n  causeway-server banner set --color '#8a1c1c' \"The registry is down\" \"Maintenance on Friday\"",
		RunE: func(command *cobra.Command, args []string) error {
			var banners []store.Banner
			for _, message := range args {
				banners = append(banners, store.Banner{Enabled: true, Message: message, BackgroundColor: color})
			}
			if _, err := define.CheckBanners(banners); err != nil {
				return err
			}
			return a.withStore(command.Context(), func(opened *store.Store) error {
				if err := opened.SetBanners(command.Context(), banners); err != nil {
					return err
				}
				return a.showBanners(banners, "Set. Agents show it within two minutes.")
			})
		},
	}
	command.Flags().StringVar(&color, "color", "", "background color for programs that show one, as #rrggbb")
	return a.jsonFlag(command)
}

func (a *app) bannerList() *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use: "list", Short: "List the banners", Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			return a.withStore(command.Context(), func(opened *store.Store) error {
				banners, err := opened.Banners(command.Context())
				if err != nil {
					return err
				}
				return a.showBanners(banners, "")
			})
		},
	})
}

func (a *app) bannerClear() *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use: "clear", Short: "Take all banners away", Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			return a.withStore(command.Context(), func(opened *store.Store) error {
				if err := opened.SetBanners(command.Context(), nil); err != nil {
					return err
				}
				return a.showBanners(nil, "There are no banners now. Agents show none within two minutes.")
			})
		},
	})
}

// showBanners prints what was done, or the list of banners.
func (a *app) showBanners(banners []store.Banner, done string) error {
	if a.asJSON {
		list := []bannerOutput{}
		for _, banner := range banners {
			list = append(list, bannerOutput(banner))
		}
		return a.printJSON(map[string]any{"banners": list})
	}
	if done != "" {
		return a.print(done)
	}
	var rows [][]string
	for _, banner := range banners {
		state := "no"
		if banner.Enabled {
			state = "yes"
		}
		rows = append(rows, []string{state, orDash(banner.BackgroundColor), strings.ReplaceAll(banner.Message, "\n", " ")})
	}
	return a.printTable([]string{"SHOWN", "COLOR", "MESSAGE"}, rows)
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
