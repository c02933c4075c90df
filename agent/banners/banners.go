// Package banners keeps the deployment's announcements, which a login shell
// shows before everything else. What was last heard holds while the control
// plane is away.
package banners

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/causewayhq/causeway/control"
	"github.com/causewayhq/causeway/proto/agentv2"
)

const (
	// refresh is how often they are asked for (docs of the protocol, 5.6), and
	// retryWait the wait after a failure.
	refresh   = 2 * time.Minute
	retryWait = 5 * time.Second
	// answerLimit bounds one question on a connection that is alive.
	answerLimit = 30 * time.Second
	// maxBanners and maxMessage (in bytes) are what a screen has use for.
	maxBanners = 32
	maxMessage = 4 << 10
)

// Client is the part of the agent API that knows the banners. Older control
// planes know only one.
type Client interface {
	GetAnnouncementBanners(ctx context.Context, in *agentv2.GetAnnouncementBannersRequest) (*agentv2.GetAnnouncementBannersResponse, error)
	GetServiceBanner(ctx context.Context, in *agentv2.GetServiceBannerRequest) (*agentv2.ServiceBanner, error)
}

// Keeper keeps the banners. All methods are safe for concurrent use.
type Keeper struct {
	logger *slog.Logger

	mu       sync.Mutex
	messages []string
}

// New makes a keeper that knows none.
func New(logger *slog.Logger) *Keeper { return &Keeper{logger: logger} }

// Banners are the messages to show, in order: text of printable characters and
// line ends.
func (k *Keeper) Banners() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.messages)
}

// Run keeps them fresh over one connection until ctx ends, or until the control
// plane says that it has none.
func (k *Keeper) Run(ctx context.Context, client Client) error {
	for {
		wait := refresh
		messages, err := ask(ctx, client)
		switch {
		case ctx.Err() != nil || control.Unimplemented(err):
			return nil
		case err != nil:
			k.logger.Debug("banners not refreshed", slog.String("error", err.Error()))
			wait = retryWait
		default:
			k.mu.Lock()
			k.messages = messages
			k.mu.Unlock()
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

func ask(ctx context.Context, client Client) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	answer, err := client.GetAnnouncementBanners(ctx, &agentv2.GetAnnouncementBannersRequest{})
	if err == nil {
		return enabled(answer.GetAnnouncementBanners()), nil
	}
	if !control.Unimplemented(err) {
		return nil, fmt.Errorf("get announcement banners: %w", err)
	}
	one, err := client.GetServiceBanner(ctx, &agentv2.GetServiceBannerRequest{})
	if err != nil {
		return nil, fmt.Errorf("get service banner: %w", err)
	}
	return enabled([]*agentv2.BannerConfig{{Enabled: one.GetEnabled(), Message: one.GetMessage()}}), nil
}

// enabled are the messages of the banners that are switched on and say
// something.
func enabled(banners []*agentv2.BannerConfig) []string {
	var result []string
	for _, each := range banners {
		message := printable(each.GetMessage())
		if each.GetEnabled() && message != "" && len(result) < maxBanners {
			result = append(result, message)
		}
	}
	return result
}

// printable takes out what would move the cursor, change colours or do worse in
// the terminal that shows it.
func printable(message string) string {
	if len(message) > maxMessage {
		message = strings.ToValidUTF8(message[:maxMessage], "")
	}
	message = strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || unicode.IsPrint(r) && r != unicode.ReplacementChar {
			return r
		}
		return -1
	}, message)
	return strings.TrimSpace(message)
}
