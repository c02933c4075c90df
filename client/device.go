package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// What a deployment may ask for, within bounds: RFC 8628 has neither.
const (
	maxInterval = 60 // seconds
	maxCodeLife = time.Hour
	usualLife   = 10 * time.Minute // where it does not say
)

// DeviceCode is what the user types, or scans, on any device with a browser.
type DeviceCode struct {
	UserCode string
	URL      string
	// FullURL has the code in it; "" if the deployment gives none.
	FullURL string
	Expires time.Time
}

// Device signs in by a code (RFC 8628): show is told what to type where, and
// Device returns when somebody approved or denied it, or the code expired. A
// deployment that is away meanwhile is asked again until then.
func (s *SignIn) Device(ctx context.Context, show func(DeviceCode)) (Grant, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := func(err error) (Grant, error) {
		return Grant{}, fmt.Errorf("sign in by a code: %w", err)
	}
	answer, err := s.config.DeviceAuth(s.context(ctx, nil), s.deviceName())
	if err != nil {
		return failed(explain(ctx, err))
	}
	if answer.DeviceCode == "" || answer.UserCode == "" || answer.VerificationURI == "" {
		return failed(fmt.Errorf("%w: there is no code in it", ErrNotControlPlane))
	}
	for _, page := range []string{answer.VerificationURI, answer.VerificationURIComplete} {
		if page == "" {
			continue
		}
		if err := own(s.access, page); err != nil {
			return failed(err)
		}
	}
	// The library panics at a negative interval and never ends without an expiry.
	answer.Interval = min(max(answer.Interval, 0), maxInterval)
	life := time.Until(answer.Expiry)
	if answer.Expiry.IsZero() {
		life = usualLife
	}
	answer.Expiry = time.Now().Add(min(life, maxCodeLife))
	show(DeviceCode{
		UserCode: oneLine(answer.UserCode), URL: oneLine(answer.VerificationURI),
		FullURL: oneLine(answer.VerificationURIComplete), Expires: answer.Expiry,
	})
	polling := s.context(ctx, func(next http.RoundTripper) http.RoundTripper {
		return patient{ctx, next, s.options.Trouble}
	})
	token, err := s.config.DeviceAccessToken(polling, answer, s.deviceName())
	switch {
	case err == nil:
		return s.grant(token)
	case ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded):
		return failed(ErrCodeExpired)
	}
	return failed(explain(ctx, err))
}

// patient makes a request to slow down of everything that is no answer: no
// connection, a broken one, an error of the server or of something before it.
// RFC 8628 wants a client to go on then, less often.
type patient struct {
	ctx     context.Context
	next    http.RoundTripper
	trouble func(error)
}

const slowDown = `{"error":"slow_down"}`

// RoundTrip passes on what the deployment itself says.
func (p patient) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := p.next.RoundTrip(request)
	switch {
	case p.ctx.Err() != nil:
		return response, p.ctx.Err()
	case err != nil:
		err = transportError(err)
	case response.StatusCode >= 500 || response.StatusCode == http.StatusTooManyRequests:
		err = fmt.Errorf("HTTP %d: %s", response.StatusCode, http.StatusText(response.StatusCode))
	case !strings.HasPrefix(response.Header.Get("Content-Type"), "application/json"):
		err = fmt.Errorf("HTTP %d: %w", response.StatusCode, ErrNotControlPlane)
	default:
		return response, nil
	}
	if p.trouble != nil {
		p.trouble(err)
	}
	return &http.Response{
		StatusCode: http.StatusBadRequest, Status: "400 Bad Request", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(slowDown)), Request: request,
	}, nil
}
