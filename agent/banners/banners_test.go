package banners

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"go.uber.org/goleak"
	"storj.io/drpc/drpcerr"

	"github.com/causewayhq/causeway/proto/agentv2"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	errAway = errors.New("database is away")
	errNone = drpcerr.WithCode(errors.New("no"), drpcerr.Unimplemented)
)

// plane answers each question in turn, the last answer again and again.
type plane struct {
	banners []any // []*agentv2.BannerConfig, an error, or nil to hang
	old     any   // *agentv2.ServiceBanner or an error
	asked   int
}

func (p *plane) GetAnnouncementBanners(ctx context.Context, _ *agentv2.GetAnnouncementBannersRequest) (*agentv2.GetAnnouncementBannersResponse, error) {
	answer := p.banners[min(p.asked, len(p.banners)-1)]
	p.asked++
	switch answer := answer.(type) {
	case error:
		return nil, answer
	case []*agentv2.BannerConfig:
		return &agentv2.GetAnnouncementBannersResponse{AnnouncementBanners: answer}, nil
	}
	<-ctx.Done()
	return nil, ctx.Err()
}

func (p *plane) GetServiceBanner(context.Context, *agentv2.GetServiceBannerRequest) (*agentv2.ServiceBanner, error) {
	if err, failed := p.old.(error); failed {
		return nil, err
	}
	return p.old.(*agentv2.ServiceBanner), nil
}

func on(messages ...string) []*agentv2.BannerConfig {
	var result []*agentv2.BannerConfig
	for _, each := range messages {
		result = append(result, &agentv2.BannerConfig{Enabled: true, Message: each})
	}
	return result
}

// after is what is known at each of some moments of one connection.
func after(t *testing.T, k *Keeper, p *plane, moments ...time.Duration) (known [][]string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- k.Run(ctx, p) }()
	began := time.Now()
	for _, moment := range moments {
		time.Sleep(time.Until(began.Add(moment)))
		synctest.Wait()
		known = append(known, k.Banners())
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	return known
}

func TestBanners(t *testing.T) {
	a, b, none := []string{"a"}, []string{"b", "c"}, []string(nil)
	tests := []struct {
		name    string
		plane   plane
		moments []time.Duration
		want    [][]string
		asked   int
	}{
		{"at once, and every two minutes", plane{banners: []any{on("a"), on("b", "c")}}, []time.Duration{0, refresh - 1, refresh, 2 * refresh}, [][]string{a, a, b, b}, 3},
		{"taken away", plane{banners: []any{on("a"), on()}}, []time.Duration{0, refresh}, [][]string{a, none}, 2},
		{"fails, and is asked again soon", plane{banners: []any{errAway, errAway, on("a")}}, []time.Duration{0, 2 * retryWait}, [][]string{none, a}, 3},
		{"fails later: what was known holds", plane{banners: []any{on("a"), errAway, on("b", "c")}}, []time.Duration{refresh, refresh + retryWait}, [][]string{a, b}, 3},
		{"blocks for a minute", plane{banners: []any{on("a"), nil, nil, on("b", "c")}}, []time.Duration{refresh + time.Minute, refresh + 2*(answerLimit+retryWait)}, [][]string{a, b}, 4},
		{"older: one banner", plane{banners: []any{errNone}, old: &agentv2.ServiceBanner{Enabled: true, Message: "a"}}, []time.Duration{0, refresh}, [][]string{a, a}, 2},
		{"older: switched off", plane{banners: []any{errNone}, old: &agentv2.ServiceBanner{Message: "a"}}, []time.Duration{0}, [][]string{none}, 1},
		{"older: fails", plane{banners: []any{errNone}, old: errAway}, []time.Duration{0, retryWait}, [][]string{none, none}, 2},
		{"has none of them", plane{banners: []any{errNone}, old: errNone}, []time.Duration{0, 10 * refresh}, [][]string{none, none}, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got := after(t, New(slog.New(slog.DiscardHandler)), &test.plane, test.moments...)
				if !slices.EqualFunc(got, test.want, slices.Equal) || test.plane.asked != test.asked {
					t.Errorf("got %q after %d questions, want %q after %d", got, test.plane.asked, test.want, test.asked)
				}
			})
		})
	}
}

func TestKeptOverReconnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := New(slog.New(slog.DiscardHandler))
		after(t, k, &plane{banners: []any{on("a")}}, 0)
		time.Sleep(time.Hour)
		if got := k.Banners(); !slices.Equal(got, []string{"a"}) {
			t.Errorf("got %q while the control plane is away", got)
		}
		got := after(t, k, &plane{banners: []any{errAway, on("b")}}, 0, retryWait)
		if !slices.EqualFunc(got, [][]string{{"a"}, {"b"}}, slices.Equal) {
			t.Errorf("got %q", got)
		}
	})
}

func TestWhatIsShown(t *testing.T) {
	off := &agentv2.BannerConfig{Message: "off"}
	got := enabled(append([]*agentv2.BannerConfig{off}, on(" \n", "\x1b[2J\x1b]0;title\x07one\r\ntwo\tthree\u202e\u009b31m", "\x00")...))
	if want := []string{"[2J]0;titleone\ntwo\tthree31m"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	var many []string
	for i := range 100 {
		many = append(many, fmt.Sprint(i))
	}
	if got := enabled(on(many...)); len(got) != maxBanners || got[0] != "0" {
		t.Errorf("%d banners", len(got))
	}
	if got := printable(strings.Repeat("é", maxMessage)); len(got) > maxMessage || len(got) < maxMessage-1 {
		t.Errorf("%d bytes", len(got))
	}
	k := New(slog.New(slog.DiscardHandler))
	k.messages = []string{"a"}
	k.Banners()[0] = "b"
	if k.messages[0] != "a" {
		t.Error("a caller can change what is kept")
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add("\x1b[2J\u009b31m")
	f.Add(strings.Repeat("\xc3", 2*maxMessage))
	f.Fuzz(func(t *testing.T, message string) {
		got := printable(message)
		if len(got) > maxMessage || strings.ContainsFunc(got, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }) {
			t.Errorf("%q became %q", message, got)
		}
	})
}
