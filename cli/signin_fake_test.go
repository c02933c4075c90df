package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

// profileDaemon keeps profiles and operators, and writes each sign-in to a file.
type profileDaemon struct {
	*fakeDaemon
	record    string
	profiles  []*localv1.Profile
	operators []*localv1.Operator
	calls     []string
}

func newProfileDaemon(state, record string) *profileDaemon {
	d := &profileDaemon{fakeDaemon: &fakeDaemon{status: fakeStatus("down")}, record: record}
	switch state {
	case "empty":
		d.set(fakeStatus("signed-out"))
	case "taken":
		d.set(&localv1.Status{State: localv1.State_CONNECTED, WantedUp: true, View: localv1.View_SUMMARY, Owner: "bob", OwnerUid: proto.Uint32(1001)})
	case "two":
		d.profiles = []*localv1.Profile{
			{
				Name: "lab", Url: "https://lab.example.com", User: "alice", SignedIn: true, Owner: "alice", OwnerUid: proto.Uint32(1000),
				ConnectAt: localv1.ConnectAt_LOGIN, TokenExpiresAt: timestamppb.New(time.Now().Add(90*time.Minute + 30*time.Second)), HeaderNames: []string{"X-Front"},
				Proxy: "http://proxy.example.com:3128", OwnCa: true,
			},
			{
				Name: "work", Url: "https://coder.example.com", User: "alice", Active: true, SignedIn: true, Owner: "alice", OwnerUid: proto.Uint32(1000),
				ConnectAt: localv1.ConnectAt_BOOT,
			},
		}
		d.operators = []*localv1.Operator{{Uid: proto.Uint32(1000), Name: "alice"}, {Uid: proto.Uint32(70000)}}
	}
	return d
}

func (d *profileDaemon) note(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls = append(d.calls, fmt.Sprintf(format, args...))
	_ = os.WriteFile(d.record, []byte(strings.Join(d.calls, "\n")+"\n"), 0o600)
}

func (d *profileDaemon) ListProfiles(context.Context, *localv1.ListProfilesRequest) (*localv1.ListProfilesResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return &localv1.ListProfilesResponse{Profiles: d.profiles}, nil
}

func (d *profileDaemon) Login(ctx context.Context, in *localv1.LoginRequest) (*localv1.LoginResponse, error) {
	if in.GetToken() == goodToken {
		in.Token = "good"
	}
	text, err := protojson.Marshal(in)
	if err != nil {
		return nil, err
	}
	d.note("login %s", strings.ReplaceAll(string(text), " ", ""))
	answer, err := d.fakeDaemon.Login(ctx, in)
	if err != nil {
		return nil, err
	}
	answer.Profile = cmp.Or(in.GetProfile(), "coder.example.com")
	return answer, nil
}

func (d *profileDaemon) find(name string) error {
	if !slices.ContainsFunc(d.profiles, func(one *localv1.Profile) bool { return one.GetName() == name }) {
		return &localapi.Error{Code: localapi.CodeNotFound, Cause: fmt.Sprintf("find profile %q: there is none of that name", name), Remedy: "see: causeway profile list"}
	}
	return nil
}

func (d *profileDaemon) Logout(ctx context.Context, in *localv1.LogoutRequest) (*localv1.LogoutResponse, error) {
	d.note("logout %q %t", in.GetProfile(), in.GetRevoke())
	if in.GetProfile() == "lab" && in.GetRevoke() {
		return &localv1.LogoutResponse{RevokeError: "post https://lab.example.com/oauth2/revoke: connection refused"}, nil
	}
	if in.GetProfile() != "" {
		return &localv1.LogoutResponse{}, d.find(in.GetProfile())
	}
	return d.fakeDaemon.Logout(ctx, in)
}

// taken is the answer while another user has the tunnel.
func taken() error {
	return &localapi.Error{
		Code: localapi.CodePermission, Cause: "use profile: bob has the tunnel up",
		Remedy: "ask them to run: causeway down; or as administrator: sudo causeway up --take-over",
	}
}

func (d *profileDaemon) Up(ctx context.Context, in *localv1.UpRequest) (*localv1.UpResponse, error) {
	d.note("up %q %t", in.GetProfile(), in.GetTakeOver())
	if in.ForUid != nil {
		d.note("for %d", in.GetForUid())
	}
	if in.GetProfile() == "lab" && !in.GetTakeOver() {
		return nil, taken()
	}
	return d.fakeDaemon.Up(ctx, in)
}

func (d *profileDaemon) Down(ctx context.Context, in *localv1.DownRequest) (*localv1.DownResponse, error) {
	d.note("down %q", in.GetReason())
	return d.fakeDaemon.Down(ctx, in)
}

func (d *profileDaemon) UseProfile(_ context.Context, in *localv1.UseProfileRequest) (*localv1.UseProfileResponse, error) {
	d.note("use %q %t", in.GetName(), in.GetTakeOver())
	if in.GetName() == "lab" && !in.GetTakeOver() {
		return nil, taken()
	}
	return &localv1.UseProfileResponse{}, d.find(in.GetName())
}

func (d *profileDaemon) RenameProfile(_ context.Context, in *localv1.RenameProfileRequest) (*localv1.RenameProfileResponse, error) {
	d.note("rename %q %q", in.GetName(), in.GetNewName())
	return &localv1.RenameProfileResponse{}, d.find(in.GetName())
}

func (d *profileDaemon) RemoveProfile(_ context.Context, in *localv1.RemoveProfileRequest) (*localv1.RemoveProfileResponse, error) {
	d.note("remove %q", in.GetName())
	return &localv1.RemoveProfileResponse{}, d.find(in.GetName())
}

func (d *profileDaemon) ListOperators(context.Context, *localv1.ListOperatorsRequest) (*localv1.ListOperatorsResponse, error) {
	return &localv1.ListOperatorsResponse{Operators: d.operators}, nil
}

func (d *profileDaemon) SetOperator(_ context.Context, in *localv1.SetOperatorRequest) (*localv1.SetOperatorResponse, error) {
	d.note("operator %d %t", in.GetOperator().GetUid(), in.GetAllowed())
	if in.GetOperator().GetUid() == 5 {
		return nil, &localapi.Error{Code: localapi.CodePermission, Cause: "call the daemon: uid 1000 is no administrator", Remedy: "run the same command with sudo"}
	}
	return &localv1.SetOperatorResponse{}, nil
}

const (
	goodToken   = "gooooood12-s3cr3tt0k3n"
	frontSecret = "fr0nt-s3cr3t"
)

// fakeDeployment is a control plane's ways to sign in: "coder" has none but its
// page, "front" wants a header, "foreign" points elsewhere, "busy" is asked too
// often, and the others are Causeway servers on which the user does as the name
// says, or that break off ("away").
func fakeDeployment(kind string) *httptest.Server {
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	base := server.URL
	answer := func(status int, format string, args ...any) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			fmt.Fprintf(w, format, args...)
		}
	}
	if kind == "coder" {
		return server
	}
	at := base
	if kind == "foreign" {
		at = "https://evil.example.com"
	}
	metadata := answer(http.StatusOK, `{"issuer":%[1]q,"authorization_endpoint":"%[1]s/oauth2/authorize","token_endpoint":"%[1]s/oauth2/token",
"device_authorization_endpoint":"%[1]s/oauth2/device","code_challenge_methods_supported":["S256"]}`, at)
	mux.HandleFunc("GET /.well-known/oauth-authorization-server", func(w http.ResponseWriter, r *http.Request) {
		if kind == "front" && r.Header.Get("X-Front") != frontSecret {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		metadata(w, r)
	})
	device := answer(http.StatusOK, `{"device_code":"dc","user_code":"ABCD-EFGH","verification_uri":"%[1]s/device",
"verification_uri_complete":"%[1]s/device?user_code=ABCD-EFGH","expires_in":600,"interval":1}`, base)
	token := answer(http.StatusOK, `{"access_token":%q,"token_type":"Bearer"}`, goodToken)
	switch kind {
	case "busy":
		device = answer(http.StatusTooManyRequests, `{"error":"temporarily_unavailable","error_description":"Too many sign-ins."}`)
	case "deny":
		token = answer(http.StatusBadRequest, `{"error":"access_denied"}`)
	case "expire":
		token = answer(http.StatusBadRequest, `{"error":"expired_token"}`)
	case "replay":
		token = answer(http.StatusBadRequest, `{"error":"invalid_grant"}`)
	}
	mux.HandleFunc("POST /oauth2/device", device)
	mux.HandleFunc("POST /oauth2/token", token)
	mux.HandleFunc("GET /oauth2/authorize", func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		result := "code=c"
		if kind == "deny" {
			result = "error=access_denied"
		}
		http.Redirect(w, r, query.Get("redirect_uri")+"?"+result+"&state="+query.Get("state"), http.StatusSeeOther)
	})
	return server
}

// openPage is the browser of the scripts: it follows redirects, as the user who
// has clicked everything away would.
func openPage() {
	response, err := http.Get(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		os.Exit(1)
	}
}

// startProfiles serves a daemon with profiles: profiles two. It writes what it
// is asked to do into the file calls.
func startProfiles(ts *testscript.TestScript, _ bool, args []string) {
	listener, err := localapi.Listen(ts.Getenv("CAUSEWAY_SOCKET"))
	ts.Check(err)
	ctx, cancel := context.WithCancel(context.Background())
	var served sync.WaitGroup
	handler := newProfileDaemon(args[0], filepath.Join(ts.Getenv("WORK"), "calls"))
	served.Go(func() {
		_ = localapi.Serve(ctx, listener, handler, func(localapi.Caller, localapi.Access) error { return nil }, discard)
	})
	ts.Defer(func() {
		cancel()
		served.Wait()
	})
}

// startDeployment sets URL: deployment deny.
func startDeployment(ts *testscript.TestScript, _ bool, args []string) {
	server := fakeDeployment(args[0])
	ts.Defer(server.Close)
	ts.Setenv("URL", server.URL)
}
