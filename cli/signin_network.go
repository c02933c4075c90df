package cli

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"github.com/causewayhq/causeway/client"
	"github.com/causewayhq/causeway/proto/localv1"
)

// networkFlags are how the deployment is reached.
type networkFlags struct {
	headers                   []string
	headerFile, caFile, proxy string
}

func (f *networkFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&f.headerFile, "header-file", "", "send the headers in this file with every request, one Name: value on a line; - for standard input")
	flags.StringArrayVar(&f.headers, "header", nil, "send this header (NAME=VALUE) with every request; other users see it on the command line: prefer --header-file")
	flags.StringVar(&f.caFile, "ca-file", "", "trust the certificate authorities in this file too (PEM)")
	flags.StringVar(&f.proxy, "proxy", "", "reach the deployment by this proxy, for example http://proxy.example.com:3128")
}

// maxNetworkFile bounds a file of headers or certificates.
const maxNetworkFile = 1 << 20

// network puts what the flags say into the request, after a check.
func (a *app) network(f *networkFlags, request *localv1.LoginRequest) error {
	lines := f.headers
	if len(lines) > 0 {
		fmt.Fprintln(a.env.Stderr, "causeway: warning: other users of this machine can see the value of --header in the list of processes; --header-file hides it")
	}
	if f.headerFile != "" {
		data, err := a.readSmall(f.headerFile)
		if err != nil {
			return unreadable("headers", "--header-file", err)
		}
		scanner := bufio.NewScanner(bytes.NewReader(data))
		scanner.Buffer(nil, maxNetworkFile)
		for scanner.Scan() {
			if line := strings.TrimSpace(scanner.Text()); line != "" && !strings.HasPrefix(line, "#") {
				lines = append(lines, line)
			}
		}
	}
	for _, line := range lines {
		header, err := parseHeader(line)
		if err != nil {
			return &usageError{cause: "sign in: " + err.Error(), remedy: `give each header as "Name: value" or Name=value, in a file one on a line`}
		}
		request.Headers = append(request.Headers, header)
	}
	if f.caFile != "" {
		data, err := a.readSmall(f.caFile)
		if err != nil {
			return unreadable("certificate authorities", "--ca-file", err)
		}
		request.CaPem = string(data)
		if _, err := (client.Network{CAPEM: data}).Transport(); err != nil {
			return &usageError{cause: "sign in: " + err.Error(), remedy: "give --ca-file a file of certificates in PEM form, which begin with -----BEGIN CERTIFICATE-----"}
		}
	}
	if f.proxy != "" {
		proxy, err := client.ParseProxy(f.proxy)
		if err != nil {
			return &usageError{cause: "sign in: " + err.Error(), remedy: "for example: --proxy http://proxy.example.com:3128"}
		}
		if _, secret := proxy.User.Password(); secret {
			fmt.Fprintln(a.env.Stderr, "causeway: warning: other users of this machine can see the password in --proxy in the list of processes while this runs")
		}
		request.Proxy = f.proxy
	}
	return nil
}

func (a *app) readSmall(file string) ([]byte, error) {
	input := a.env.Stdin
	if file != "-" {
		opened, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer opened.Close()
		input = opened
	}
	data, err := io.ReadAll(io.LimitReader(input, maxNetworkFile+1))
	if err == nil && len(data) > maxNetworkFile {
		err = errors.New("it is too long")
	}
	return data, err
}

// parseHeader takes "Name: value" and "Name=value": a name holds neither sign.
// Its errors never quote the value.
func parseHeader(line string) (*localv1.Header, error) {
	at := strings.IndexAny(line, ":=")
	if at < 0 {
		return nil, errors.New("read header: there is neither : nor = in it")
	}
	name, value := strings.TrimSpace(line[:at]), strings.TrimSpace(line[at+1:])
	if err := client.CheckHeader(name, value); err != nil {
		return nil, err
	}
	return &localv1.Header{Name: name, Value: value}, nil
}

// wayThere is how the requests of the sign-in travel: as those of the daemon
// will. What the daemon keeps of a known profile it tells without its secrets.
func (a *app) wayThere(f *signInFlags, request *localv1.LoginRequest, known *localv1.Profile) (client.Options, error) {
	way := client.Network{CAPEM: []byte(request.GetCaPem())}
	proxy := request.GetProxy()
	if proxy == "" {
		proxy = known.GetProxy()
	}
	if proxy != "" {
		parsed, err := client.ParseProxy(proxy)
		if err != nil {
			return client.Options{}, err
		}
		way.Proxy = parsed
	}
	if len(request.GetHeaders()) > 0 {
		way.Header = http.Header{}
	}
	for _, header := range request.GetHeaders() {
		way.Header.Add(header.GetName(), header.GetValue())
	}
	if names := known.GetHeaderNames(); f.tokenFile == "" && way.Header == nil && len(names) > 0 {
		fmt.Fprintf(a.env.Stderr, "note: the daemon keeps the profile's headers (%s) to itself; if the sign-in is refused for want of them, give them again with --header-file\n",
			printable(strings.Join(names, ", ")))
	}
	return way.Options()
}

// accessURL takes an access URL, with or without its scheme. Its errors do not
// quote it: people paste tokens into the wrong place.
func accessURL(text string) (*url.URL, error) {
	text = strings.TrimSpace(text)
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	bad := func(cause string) error {
		return &usageError{cause: "sign in: " + cause, remedy: "give the address of the deployment, for example https://coder.example.com"}
	}
	access, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, bad("the URL cannot be read")
	case access.Scheme != "https" && access.Scheme != "http":
		return nil, bad("the URL does not begin with https:// or http://")
	case access.Hostname() == "":
		return nil, bad("the URL has no host")
	case access.User != nil:
		return nil, bad("the URL holds a user or password")
	case access.RawQuery != "" || access.Fragment != "":
		return nil, bad("the URL holds a query or fragment")
	}
	access.Path = strings.TrimRight(access.Path, "/")
	return access, nil
}

// withoutSecrets is a command line fit to be shown: no values of headers, and
// no password of a proxy.
func withoutSecrets(words []string) []string {
	out := make([]string, 0, len(words))
	for i, word := range words {
		value, joined := strings.CutPrefix(word, "--header=")
		switch {
		case joined:
			word = "--header=" + headerName(value)
		case i > 0 && words[i-1] == "--header":
			word = headerName(word)
		case strings.Contains(word, "@"):
			flag, address := "", word
			if name, value, ok := strings.Cut(word, "="); ok && strings.HasPrefix(name, "--") {
				flag, address = name+"=", value
			}
			if parsed, err := url.Parse(address); err == nil && parsed.User != nil {
				word = flag + parsed.Redacted()
			}
		}
		out = append(out, word)
	}
	return out
}

func headerName(line string) string {
	if at := strings.IndexAny(line, ":="); at >= 0 {
		return line[:at+1] + "..."
	}
	return "..."
}
