package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/causewayhq/causeway/server"
	"github.com/causewayhq/causeway/server/coordinator"
	"github.com/causewayhq/causeway/server/store"
)

func (a *app) debugCommand() *cobra.Command {
	return group("debug", "Look into the running server",
		"  causeway-server debug peers\n  causeway-server debug peers --json",
		a.debugPeers())
}

// debugTokenLife is ample for one request.
const debugTokenLife = time.Minute

func (a *app) debugPeers() *cobra.Command {
	var url string
	command := &cobra.Command{
		Use: "peers", Short: "List the peers that are connected, and how often one took over another's place", Args: cobra.NoArgs,
		Long: `List the peers that are connected, and how often one took over another's place.

It asks the running server, as an administrator: whoever may write the database
may do that. The token that it makes for this is deleted when the answer is there.`,
		RunE: func(command *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(command.Context(), healthLimit)
			defer cancel()
			target, err := a.serverURL(ctx, url)
			if err != nil {
				return err
			}
			return a.withStore(ctx, func(opened *store.Store) error {
				var found coordinator.Snapshot
				if err := askAsAdmin(ctx, opened, target+"/api/v2/debug/coordinator", &found); err != nil {
					return err
				}
				return a.printPeers(found)
			})
		},
	}
	command.Flags().StringVar(&url, "url", "", "URL of the server (default: where it last ran)")
	return a.jsonFlag(command)
}

func (a *app) printPeers(found coordinator.Snapshot) error {
	if a.asJSON {
		return a.printJSON(map[string]any{
			"peers": found.Peers, "tunnels": found.Tunnels, "overwrites": found.Overwrites, "too_slow": found.TooSlow, "lost": found.Lost,
		})
	}
	rows := [][]string{}
	for _, peer := range found.Peers {
		rows = append(rows, []string{
			peer.Name, peer.Class, peer.ID.String(), moment(peer.Connected), moment(peer.Updated),
			strconv.Itoa(peer.Tunnels), strconv.Itoa(peer.Partners), strconv.Itoa(peer.Queued),
		})
	}
	if err := a.printTable([]string{"NAME", "CLASS", "ID", "CONNECTED", "UPDATED", "TUNNELS", "PARTNERS", "QUEUED"}, rows); err != nil {
		return err
	}
	return a.print(fmt.Sprintf("%d peers, %d tunnels; since the start %d taken over and %d removed as too slow; %d lost that the relay still serves",
		len(found.Peers), found.Tunnels, found.Overwrites, found.TooSlow, found.Lost))
}

// askAsAdmin reads JSON with a token that it makes for the purpose.
func askAsAdmin(ctx context.Context, opened *store.Store, url string, into any) error {
	users, err := opened.Users(ctx)
	if err != nil {
		return err
	}
	for _, user := range users {
		if !user.Admin {
			continue
		}
		token, secret, err := opened.CreateUserToken(ctx, user.ID, "causeway-server debug", debugTokenLife)
		if err != nil {
			return err
		}
		err = askJSON(ctx, url, secret, into)
		// Also when the command was interrupted or took too long.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), debugTokenLife)
		defer cancel()
		return errors.Join(err, opened.DeleteToken(ctx, token.ID))
	}
	return fmt.Errorf("ask %s: there is no administrator: %w", url, store.ErrNotFound)
}

func askJSON(ctx context.Context, url string, token store.Secret, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return &usageError{fmt.Errorf("ask %s: %w", url, err)}
	}
	request.Header.Set("Coder-Session-Token", token.Reveal())
	// A redirect would show the token to whom it names.
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	if err != nil {
		return unreachable("ask the server", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("ask %s: HTTP %d; is that the server of this --data-dir?", url, response.StatusCode)
	}
	if err := json.NewDecoder(response.Body).Decode(into); err != nil {
		return fmt.Errorf("read answer of %s: %w", url, err)
	}
	return nil
}

func (a *app) resumeKeyCommand() *cobra.Command {
	return group("resume-key", "List and rotate the keys that let clients keep their peer over a reconnect",
		"  causeway-server resume-key list\n  causeway-server resume-key rotate\n  causeway-server resume-key rotate --drop-old    # after a leak of the database",
		a.resumeKeyList(), a.resumeKeyRotate())
}

func (a *app) resumeKeyList() *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use: "list", Short: "List the keys, without their secrets; the first one signs", Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			return a.withStore(command.Context(), func(opened *store.Store) error {
				keys, err := opened.ResumeKeys(command.Context(), server.ResumeRotation)
				if err != nil {
					return err
				}
				return a.printKeys(keys)
			})
		},
	})
}

func (a *app) resumeKeyRotate() *cobra.Command {
	var dropOld bool
	command := &cobra.Command{
		Use: "rotate", Short: "Make a new key now; a running server signs with it within two seconds", Args: cobra.NoArgs,
		Long: `Make a new key now; a running server signs with it within two seconds. It also
does so by itself every 30 days. Old keys verify for two more days, which is
longer than a token lives. With --drop-old they go at once: clients then come
back under a new peer id, and their sessions over the tunnel begin anew.`,
		RunE: func(command *cobra.Command, _ []string) error {
			return a.withStore(command.Context(), func(opened *store.Store) error {
				keys, err := opened.RotateResumeKeys(command.Context(), server.ResumeRotation, dropOld)
				if err != nil {
					return err
				}
				return a.printKeys(keys)
			})
		},
	}
	command.Flags().BoolVar(&dropOld, "drop-old", false, "drop the old keys at once")
	return a.jsonFlag(command)
}

type resumeKeyOutput struct {
	ID        string    `json:"id"`
	CreatedAt time.Time `json:"created_at"`
	Signs     bool      `json:"signs"`
}

func (a *app) printKeys(keys []store.ResumeKey) error {
	list, rows := []resumeKeyOutput{}, [][]string{}
	for i, key := range keys {
		use := "verifies"
		if i == 0 {
			use = "signs and verifies"
		}
		list = append(list, resumeKeyOutput{key.ID, key.CreatedAt, i == 0})
		rows = append(rows, []string{key.ID, moment(key.CreatedAt), use})
	}
	if a.asJSON {
		return a.printJSON(map[string]any{"keys": list})
	}
	return a.printTable([]string{"ID", "CREATED", "USE"}, rows)
}
