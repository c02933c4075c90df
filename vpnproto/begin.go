package vpnproto

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/causewayhq/causeway/proto/vpnv1"
	"github.com/causewayhq/causeway/tunnel"
)

// startLimit is how long a start waits for the control plane's first word. A
// dial into nowhere takes the dialer longer.
const startLimit = 20 * time.Second

// telemetryHeader tells the deployment which desktop app asks.
const telemetryHeader = "Coder-Desktop-Telemetry"

// The texts of failures, as managers know them.
var (
	errNoURL   = errors.New("missing coder url")
	errNoToken = errors.New("missing api token")
)

var (
	errRunning = errors.New("tunnel is running already; stop it first")
	errBusy    = errors.New("tunnel is being started already")
	errStopped = errors.New("tunnel was stopped")
)

// profile is what a start request asks for.
func profile(request *vpnv1.StartRequest, version Version) (tunnel.Profile, error) {
	if request.GetCoderUrl() == "" {
		return tunnel.Profile{}, errNoURL
	}
	if request.GetApiToken() == "" {
		return tunnel.Profile{}, errNoToken
	}
	access, err := url.Parse(request.GetCoderUrl())
	if err != nil {
		return tunnel.Profile{}, err // its text names the URL
	}
	if access.Scheme != "http" && access.Scheme != "https" || access.Host == "" {
		return tunnel.Profile{}, fmt.Errorf("parse %q: it is not http://HOST or https://HOST", access.Redacted())
	}
	headers := http.Header{}
	for _, header := range request.GetHeaders() {
		// It also goes where no HTTP client looks at it: to relays.
		if !httpguts.ValidHeaderFieldName(header.GetName()) || !httpguts.ValidHeaderFieldValue(header.GetValue()) {
			return tunnel.Profile{}, fmt.Errorf("header %q is no HTTP header", header.GetName())
		}
		headers.Add(header.GetName(), header.GetValue())
	}
	if text := telemetry(request, version); text != "" {
		headers.Set(telemetryHeader, text)
	}
	return tunnel.Profile{URL: access, Token: tunnel.Token(request.GetApiToken()), Headers: headers}, nil
}

// telemetry is the value of the header, empty for none.
func telemetry(request *vpnv1.StartRequest, version Version) string {
	if !version.has(minorDevice) || request.GetDeviceId()+request.GetDeviceOs()+request.GetCoderDesktopVersion() == "" {
		return ""
	}
	// JSON escapes what a header may not hold, save one character (DEL): no header
	// then, as it is only for statistics.
	text, err := json.Marshal(struct {
		ID      string `json:"device_id"`
		OS      string `json:"device_os"`
		Version string `json:"coder_desktop_version"`
	}{request.GetDeviceId(), request.GetDeviceOs(), request.GetCoderDesktopVersion()})
	if err != nil || !httpguts.ValidHeaderFieldValue(string(text)) {
		return ""
	}
	return string(text)
}

// started waits until a tunnel is worth to be called started: its control plane
// answers, or cannot be reached while what an earlier process knew is there to
// go on with. Anything else is an error.
func (r *run) started(ctx context.Context) error {
	timer := time.NewTimer(startLimit)
	defer timer.Stop()
	for {
		changed := r.core.Changed()
		if done, err := outcome(r.core.Status()); done {
			return err
		}
		select {
		case <-changed:
		case <-r.ended:
			if r.err == nil {
				return errStopped
			}
			return r.err
		case <-ctx.Done():
			return errStopped
		case <-timer.C:
			return fmt.Errorf("no answer from the deployment within %v", startLimit)
		}
	}
}

// outcome says what became of a start, once that is known.
func outcome(status tunnel.Status) (done bool, err error) {
	if status.ControlConnected {
		return true, nil
	}
	if err := status.Lasting(); err != nil {
		return true, err
	}
	for _, problem := range status.Problems {
		switch {
		case problem.Code != tunnel.CodeUnreachable && problem.Code != tunnel.CodeTold:
		case status.State == tunnel.Degraded: // names answer, from before
			return true, nil
		default:
			return true, errors.New(problem.Cause)
		}
	}
	return false, nil
}
