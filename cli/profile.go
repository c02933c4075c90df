package cli

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

func (a *app) profile() *cobra.Command {
	command := &cobra.Command{
		Use: "profile", Short: "Several deployments: list, add, rename, remove, use", Args: cobra.ArbitraryArgs,
		Long: `A profile is a deployment, the user there, and the way to reach it. Each belongs
to the user of this machine who signed in; one at a time has the tunnel.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return unknownCommand(cmd, args[0])
		},
	}
	command.AddCommand(a.profileList(), a.profileAdd(), a.profileRename(), a.profileRemove(), a.profileUse())
	return command
}

type profilesJSON struct {
	Version  int           `json:"version"`
	Profiles []profileJSON `json:"profiles"`
}

type profileJSON struct {
	Name           string     `json:"name"`
	URL            string     `json:"url"`
	User           string     `json:"user"`
	Active         bool       `json:"active"`
	SignedIn       bool       `json:"signed_in"`
	Owner          string     `json:"owner"`
	OwnerUID       *uint32    `json:"owner_uid"`
	ConnectAt      string     `json:"connect_at"`
	TokenExpiresAt *time.Time `json:"token_expires_at"`
	HeaderNames    []string   `json:"header_names"`
	Proxy          string     `json:"proxy"`
	OwnCA          bool       `json:"own_ca"`
}

func (a *app) profileList() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use: "list", Short: "List your profiles; as administrator, everybody's", Args: args(0, 0, ""),
		Example: `  causeway profile list
  sudo causeway profile list --json`,
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print JSON (cli/schema/profile-list.json)")
	command.RunE = func(cmd *cobra.Command, _ []string) error {
		client, err := a.dial(cmd.Context())
		if err != nil {
			return err
		}
		defer client.Close()
		profiles, err := a.profiles(cmd.Context(), client)
		if err != nil {
			return err
		}
		if asJSON {
			return writeJSON(a.env.Stdout, profilesOf(profiles))
		}
		return a.printProfiles(profiles)
	}
	return command
}

func profilesOf(profiles []*localv1.Profile) profilesJSON {
	out := profilesJSON{Version: jsonVersion, Profiles: []profileJSON{}}
	for _, one := range profiles {
		out.Profiles = append(out.Profiles, profileJSON{
			Name: one.GetName(), URL: one.GetUrl(), User: one.GetUser(), Active: one.GetActive(), SignedIn: one.GetSignedIn(),
			Owner: one.GetOwner(), OwnerUID: one.OwnerUid, ConnectAt: connectAtWord(one.GetConnectAt()),
			TokenExpiresAt: timeOf(one.GetTokenExpiresAt()), HeaderNames: append([]string{}, one.GetHeaderNames()...),
			Proxy: one.GetProxy(), OwnCA: one.GetOwnCa(),
		})
	}
	return out
}

func connectAtWord(at localv1.ConnectAt) string {
	if at == localv1.ConnectAt_LOGIN {
		return connectAtLogin
	}
	return connectAtBoot
}

func (a *app) printProfiles(profiles []*localv1.Profile) error {
	if len(profiles) == 0 {
		fmt.Fprintln(a.env.Stdout, "no profiles\nnext: causeway login <url>")
		return nil
	}
	table := tabwriter.NewWriter(a.env.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\tNAME\tURL\tUSER\tOWNER\tSIGNED IN")
	for _, one := range profiles {
		mark := " "
		if one.GetActive() {
			mark = "*"
		}
		fmt.Fprintln(table, strings.Join([]string{mark, one.GetName(), one.GetUrl(), dash(one.GetUser()), dash(one.GetOwner()), a.signedIn(one)}, "\t"))
	}
	return table.Flush()
}

// signedIn says for how long, where the deployment told.
func (a *app) signedIn(profile *localv1.Profile) string {
	if !profile.GetSignedIn() {
		return "no"
	}
	expires := profile.GetTokenExpiresAt()
	switch left := expires.AsTime().Sub(a.now()); {
	case expires == nil:
		return "yes"
	case left <= 0:
		return "expired"
	case left < 48*time.Hour:
		return "for " + span(left)
	default:
		return "until " + expires.AsTime().Local().Format(time.DateOnly)
	}
}

func (a *app) profileAdd() *cobra.Command {
	f := &signInFlags{}
	command := &cobra.Command{
		Use: "add <name> <url>", Short: "Sign in to one more deployment", Args: args(2, 2, "a name for the profile and the URL of its deployment"),
		Long: `Sign in to one more deployment, under a name of its own. It takes the flags of
causeway login. It becomes the active one unless somebody else's tunnel is up.`,
		Example: `  causeway profile add work https://coder.example.com
  causeway profile add lab https://lab.example.com --device`,
	}
	f.register(a, command)
	command.RunE = func(cmd *cobra.Command, args []string) error {
		f.profile = args[0]
		return a.runLogin(cmd.Context(), f, args[1], true)
	}
	return command
}

func (a *app) profileRename() *cobra.Command {
	return &cobra.Command{
		Use: "rename <old> <new>", Short: "Give a profile another name", Args: args(2, 2, "the profile's name and a new one"),
		Example: "  causeway profile rename coder.example.com work", ValidArgsFunction: a.completeProfiles,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.change(cmd.Context(), fmt.Sprintf("profile %s is now %s", args[0], args[1]), func(ctx context.Context, client *localapi.Client) error {
				_, err := call(ctx, a, answerLimit, client.RenameProfile, &localv1.RenameProfileRequest{Name: args[0], NewName: args[1]})
				return err
			})
		},
	}
}

func (a *app) profileRemove() *cobra.Command {
	return &cobra.Command{
		Use: "remove <name>", Short: "Sign out and forget a profile", Args: args(1, 1, "the profile's name"),
		Long: `Sign out and forget a profile. The token lives on at the deployment: causeway
logout --revoke --profile NAME ends it first.`,
		Example: "  causeway profile remove lab", ValidArgsFunction: a.completeProfiles,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.change(cmd.Context(), "removed profile "+args[0], func(ctx context.Context, client *localapi.Client) error {
				_, err := call(ctx, a, workLimit, client.RemoveProfile, &localv1.RemoveProfileRequest{Name: args[0]})
				return err
			})
		},
	}
}

func (a *app) profileUse() *cobra.Command {
	request := &localv1.UseProfileRequest{}
	command := &cobra.Command{
		Use: "use <name>", Short: "Make another profile the active one", Args: args(1, 1, "the profile's name"),
		Long: `Make another profile the active one. If the tunnel is up, it goes over to the
other deployment. While another user of this machine has the tunnel up, that is
theirs to give: they run causeway down first. An administrator may take it.`,
		Example: `  causeway profile use work
  sudo causeway profile use work --take-over`, ValidArgsFunction: a.completeProfiles,
	}
	command.Flags().BoolVar(&request.TakeOver, "take-over", false, "as administrator: take the tunnel from the user who has it up")
	command.RunE = func(cmd *cobra.Command, args []string) error {
		request.Name = args[0]
		return a.change(cmd.Context(), "profile "+args[0]+" is active", func(ctx context.Context, client *localapi.Client) error {
			_, err := call(ctx, a, workLimit, client.UseProfile, request)
			return err
		})
	}
	return command
}

// change has the daemon change something, and says so.
func (a *app) change(ctx context.Context, done string, what func(context.Context, *localapi.Client) error) error {
	client, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := what(ctx, client); err != nil {
		return err
	}
	fmt.Fprintln(a.env.Stdout, printable(done))
	return nil
}

// profiles are those that the caller may see, fit for a terminal.
func (a *app) profiles(ctx context.Context, client *localapi.Client) ([]*localv1.Profile, error) {
	answer, err := call(ctx, a, answerLimit, client.ListProfiles, &localv1.ListProfilesRequest{})
	if err != nil {
		return nil, err
	}
	return shown(answer).GetProfiles(), nil
}

// named is the profile of that name; for an administrator, who sees everybody's,
// the first.
func named(profiles []*localv1.Profile, name string) *localv1.Profile {
	for _, one := range profiles {
		if one.GetName() == name {
			return one
		}
	}
	return nil
}

// profilesLimit is how long a shell waits for names.
const profilesLimit = time.Second

// completeProfiles gives the profiles' names, for the first argument.
func (a *app) completeProfiles(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), profilesLimit)
	defer cancel()
	client, err := localapi.Dial(ctx, a.socketPath())
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer client.Close()
	profiles, err := a.profiles(ctx, client)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, one := range profiles {
		names = append(names, one.GetName()+"\t"+one.GetUrl())
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completesProfile completes a flag that names a profile.
func (a *app) completesProfile(command *cobra.Command, flag string) {
	// It fails for a flag that does not exist only.
	_ = command.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
		return a.completeProfiles(cmd, nil, prefix)
	})
}
