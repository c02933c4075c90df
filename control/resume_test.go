package control

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"storj.io/drpc/drpcerr"

	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// refreshes notes when a plane was asked for a token, since the test began.
type refreshes struct {
	mu    sync.Mutex
	began time.Time
	at    []time.Duration
}

func (r *refreshes) note() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at = append(r.at, time.Since(r.began))
}

func (r *refreshes) all() []time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.at)
}

// The first refresh is at once, the next after refresh_in, or after half an
// hour where the control plane gives none.
func TestResumeTokenIsRefreshedInTime(t *testing.T) {
	for name, test := range map[string]struct{ in, want time.Duration }{
		"given": {12 * time.Minute, 12 * time.Minute}, "zero": {0, resumeFallback}, "negative": {-time.Hour, resumeFallback}, "tiny": {1, resumeFloor},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				asked := &refreshes{began: time.Now()}
				p := &plane{refresh: func(int) (*tailnetv2.RefreshResumeTokenResponse, error) {
					asked.note()
					return &tailnetv2.RefreshResumeTokenResponse{
						Token: "t", RefreshIn: durationpb.New(test.in), ExpiresAt: timestamppb.New(time.Now().Add(24 * time.Hour)),
					}, nil
				}}
				stop := run(t, userLoop(serve(t, p, newPipes()), &data{}, &reports{}))
				time.Sleep(2*test.want + time.Second)
				stop()
				if want := []time.Duration{0, test.want, 2 * test.want}; !slices.Equal(asked.all(), want) {
					t.Errorf("asked at %v, want %v", asked.all(), want)
				}
			})
		})
	}
}

// A control plane without resume tokens, in both forms, leaves us with none; a
// failure of another kind leaves the old token alone. Neither is asked again
// before the next connection, and neither concerns the connection.
func TestResumeTokenRefusals(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		want string
	}{
		"unimplemented by code": {drpcerr.WithCode(errors.New("no"), drpcerr.Unimplemented), ""},
		"unimplemented by text": {errors.New("protocol error: unknown rpc: /coder.tailnet.v2.Tailnet/RefreshResumeToken"), ""},
		"other error":           {errors.New("no stream identity"), "from disk"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				asked, heard := &refreshes{began: time.Now()}, &reports{}
				p := &plane{refresh: func(int) (*tailnetv2.RefreshResumeTokenResponse, error) {
					asked.note()
					return nil, test.err
				}}
				loop := userLoop(serve(t, p, newPipes()), &data{}, heard)
				loop.Resume = ResumeToken{Token: "from disk", Expires: time.Now().Add(24 * time.Hour)}
				stop := run(t, loop)
				time.Sleep(2 * time.Hour)
				if len(asked.all()) != 1 || len(heard.all()) != 1 {
					t.Errorf("asked %d times; heard %+v", len(asked.all()), heard.all())
				}
				p.drop()
				time.Sleep(time.Second)
				stop()
				if len(asked.all()) != 2 {
					t.Errorf("asked %d times by two connections", len(asked.all()))
				}
				if got := p.seen()[1].query.Get("resume_token"); got != test.want {
					t.Errorf("the next dial sent %q, want %q", got, test.want)
				}
			})
		})
	}
}

// A refresh that hangs holds neither the connection nor its end, and its
// answer, when it comes late, is nobody's.
func TestResumeTokenLateAnswer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		release := make(chan struct{})
		p := &plane{refresh: func(dial int) (*tailnetv2.RefreshResumeTokenResponse, error) {
			token := "new"
			if dial == 1 {
				<-release
				token = "late"
			}
			return &tailnetv2.RefreshResumeTokenResponse{Token: token, RefreshIn: durationpb.New(time.Hour), ExpiresAt: timestamppb.New(time.Now().Add(2 * time.Hour))}, nil
		}}
		heard := &reports{}
		stop := run(t, userLoop(serve(t, p, newPipes()), &data{}, heard))
		time.Sleep(time.Minute)
		if heard.ups() != 1 {
			t.Error("a refresh that hangs held the connection up")
		}
		p.drop()
		time.Sleep(time.Second)
		close(release)
		time.Sleep(time.Second)
		p.drop()
		time.Sleep(time.Second)
		stop()
		if got := p.seen()[2].query.Get("resume_token"); got != "new" {
			t.Errorf("the third dial sent %q", got)
		}
	})
}

// An expired token is not sent.
func TestResumeTokenExpired(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := &plane{}
		loop := userLoop(serve(t, p, newPipes()), &data{}, &reports{})
		loop.Resume = ResumeToken{Token: "old", Expires: time.Now().Add(-time.Second)}
		stop := run(t, loop)
		time.Sleep(time.Second)
		stop()
		if got := p.seen()[0].query.Get("resume_token"); got != "" {
			t.Errorf("sent %q", got)
		}
	})
}
