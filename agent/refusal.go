package agent

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"strings"

	"github.com/causewayhq/causeway/control"
)

// What makes an agent give up that the control plane has never accepted. After
// the first success each of them is only an outage: a token can be restored
// and a certificate renewed without anybody looking after the agents.
var (
	// ErrToken means that the control plane does not know the token.
	ErrToken = errors.New("the control plane refuses the token")
	// ErrCertificate means that the server's certificate is of an authority
	// that this host does not trust, or for another name. One that has expired
	// is not meant: it may be this host's clock, and mends itself.
	ErrCertificate = errors.New("the server's certificate does not verify")
	// ErrVersion means that the control plane does not speak our version.
	ErrVersion = errors.New("the control plane does not speak this agent's version")
)

// refusal says which of the above a failed dial is, nil if none.
func refusal(err error) error {
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var rejected *control.DialError
	switch {
	case errors.Is(err, ErrNoToken):
		return ErrNoToken
	case errors.Is(err, control.ErrSignedOut):
		return ErrToken
	case errors.As(err, &authority) || errors.As(err, &name):
		return ErrCertificate
	case errors.As(err, &rejected) && rejected.Status == http.StatusBadRequest && len(rejected.Validations) > 0 &&
		rejected.Validations[0].Field == "version":
		return ErrVersion
	}
	return nil
}

// plainly is a failed dial without what is said to people in browsers: where the
// control plane gives a reason for refusing the token, that alone.
func plainly(err error) error {
	var rejected *control.DialError
	if !errors.Is(err, control.ErrSignedOut) || !errors.As(err, &rejected) || rejected.Detail == "" {
		return err
	}
	short := *rejected
	short.Message, short.Detail = strings.TrimSuffix(rejected.Detail, "."), ""
	return &short
}

// What is said of an outage, once, and again when it becomes another.
const (
	outageToken   = "no token to show the control plane; trying again until there is one"
	outageAway    = "no control plane; trying again until it answers"
	outagePlain   = "the server at this address speaks plain HTTP; use http:// if that is meant; trying again until it answers"
	outageNews    = "the definition of this agent has changed; reading it again"
	outageRefused = "this agent was deleted or its token revoked or expired; start it with a new token (causeway-server agent create or agent token prints one) or stop it; trying again twice a minute"
	outageRival   = "another agent uses this identity; one token is for one running agent: stop one of them, or make an agent and a token for each (causeway-server agent create)"
)

// redefinedText is how our control plane says that the agent is to come back and
// to read its manifest again.
const redefinedText = "the definition of the agent has changed"

// outage is how to say why there is no connection.
func outage(cause error) string {
	switch {
	case errors.Is(cause, ErrNoToken):
		return outageToken
	case errors.Is(cause, control.ErrSignedOut):
		return outageRefused
	case errors.Is(cause, http.ErrSchemeMismatch):
		return outagePlain
	case errors.Is(cause, control.ErrReplaced):
		return outageRival
	case cause != nil && strings.Contains(cause.Error(), redefinedText):
		return outageNews
	}
	return outageAway
}

// quiet lets through at debug level only: the agent reports outages itself,
// once each, where the control loop would report every failed dial.
func quiet(logger *slog.Logger) *slog.Logger { return slog.New(quietHandler{logger.Handler()}) }

type quietHandler struct{ slog.Handler }

func (h quietHandler) Enabled(ctx context.Context, _ slog.Level) bool {
	return h.Handler.Enabled(ctx, slog.LevelDebug)
}

func (h quietHandler) Handle(ctx context.Context, record slog.Record) error {
	record.Level = slog.LevelDebug
	return h.Handler.Handle(ctx, record)
}

func (h quietHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return quietHandler{h.Handler.WithAttrs(attrs)}
}

func (h quietHandler) WithGroup(name string) slog.Handler {
	return quietHandler{h.Handler.WithGroup(name)}
}
