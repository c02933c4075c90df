package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/causewayhq/causeway/localapi"
)

// errNoSuchName is a resolver's answer that there is no such name, or nothing of
// the type; every other error means that there was no answer.
var errNoSuchName = errors.New("no such name")

// Lookup asks the operating system's resolver; asked is false for a type that
// there is no call for.
type Lookup func(ctx context.Context, kind dnsmessage.Type, name string) (data []string, asked bool, err error)

var typeNames = map[string]dnsmessage.Type{
	"A": dnsmessage.TypeA, "AAAA": dnsmessage.TypeAAAA, "PTR": dnsmessage.TypePTR, "TXT": dnsmessage.TypeTXT,
	"SOA": dnsmessage.TypeSOA, "NS": dnsmessage.TypeNS, "CNAME": dnsmessage.TypeCNAME, "MX": dnsmessage.TypeMX,
	"SRV": dnsmessage.TypeSRV, "SVCB": dnsmessage.TypeSVCB, "HTTPS": dnsmessage.TypeHTTPS, "ANY": dnsmessage.TypeALL,
}

func parseType(text string) (dnsmessage.Type, error) {
	upper := strings.ToUpper(text)
	if kind, ok := typeNames[upper]; ok {
		return kind, nil
	}
	if number, err := strconv.ParseUint(strings.TrimPrefix(upper, "TYPE"), 10, 16); err == nil {
		return dnsmessage.Type(number), nil
	}
	return 0, &usageError{
		cause:  fmt.Sprintf("query DNS: unknown type %q", text),
		remedy: "give A, AAAA, PTR, TXT, SOA, NS, CNAME, MX, SRV, SVCB, HTTPS, ANY or a number",
	}
}

func typeName(kind dnsmessage.Type) string {
	for name, known := range typeNames {
		if known == kind {
			return name
		}
	}
	return fmt.Sprintf("TYPE%d", uint16(kind))
}

func codeName(code dnsmessage.RCode) string {
	switch code {
	case dnsmessage.RCodeSuccess:
		return "NOERROR"
	case dnsmessage.RCodeFormatError:
		return "FORMERR"
	case dnsmessage.RCodeServerFailure:
		return "SERVFAIL"
	case dnsmessage.RCodeNameError:
		return "NXDOMAIN"
	case dnsmessage.RCodeNotImplemented:
		return "NOTIMP"
	case dnsmessage.RCodeRefused:
		return "REFUSED"
	}
	return fmt.Sprintf("RCODE%d", code)
}

func packQuery(name string, kind dnsmessage.Type) ([]byte, error) {
	bad := &usageError{cause: fmt.Sprintf("query DNS: %q is no DNS name", name), remedy: "see the names with: causeway list"}
	packed, err := dnsmessage.NewName(name + ".")
	if err != nil {
		return nil, bad
	}
	message := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 1, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: packed, Type: kind, Class: dnsmessage.ClassINET}},
	}
	data, err := message.Pack()
	if err != nil {
		return nil, bad
	}
	return data, nil
}

func parseAnswer(data []byte) (answerJSON, error) {
	out := answerJSON{Records: []recordJSON{}}
	if len(data) == 0 {
		return out, &localapi.Error{
			Code: localapi.CodeDegraded, Cause: "query DNS: the tunnel's resolver gave no answer",
			Remedy: "ask for a name of the deployment; see: causeway list",
		}
	}
	var message dnsmessage.Message
	if err := message.Unpack(data); err != nil {
		return out, fmt.Errorf("query DNS: parse answer: %w", err)
	}
	out.Code = codeName(message.RCode)
	for _, record := range message.Answers {
		out.Records = append(out.Records, recordJSON{
			Name: strings.TrimSuffix(record.Header.Name.String(), "."), TTL: record.Header.TTL,
			Type: typeName(record.Header.Type), Data: recordData(record.Body),
		})
	}
	return out, nil
}

func recordData(body dnsmessage.ResourceBody) string {
	plain := func(name dnsmessage.Name) string { return strings.TrimSuffix(name.String(), ".") }
	switch body := body.(type) {
	case *dnsmessage.AResource:
		return netip.AddrFrom4(body.A).String()
	case *dnsmessage.AAAAResource:
		return netip.AddrFrom16(body.AAAA).String()
	case *dnsmessage.PTRResource:
		return plain(body.PTR)
	case *dnsmessage.CNAMEResource:
		return plain(body.CNAME)
	case *dnsmessage.NSResource:
		return plain(body.NS)
	case *dnsmessage.TXTResource:
		return strings.Join(body.TXT, "")
	case *dnsmessage.SOAResource:
		return fmt.Sprintf("%s %s %d %d %d %d %d", plain(body.NS), plain(body.MBox), body.Serial, body.Refresh, body.Retry, body.Expire, body.MinTTL)
	}
	return body.GoString()
}

// reverseName is the name that holds an address's PTR record.
func reverseName(address netip.Addr) string {
	if address.Is4() {
		b := address.As4()
		return fmt.Sprintf("%d.%d.%d.%d.in-addr.arpa", b[3], b[2], b[1], b[0])
	}
	var name strings.Builder
	b := address.As16()
	for i := len(b) - 1; i >= 0; i-- {
		fmt.Fprintf(&name, "%x.%x.", b[i]&0xf, b[i]>>4)
	}
	return name.String() + "ip6.arpa"
}

// systemLookup asks as an application would.
func systemLookup(ctx context.Context, kind dnsmessage.Type, name string) ([]string, bool, error) {
	var data []string
	var err error
	switch kind {
	case dnsmessage.TypeA:
		data, err = lookupAddresses(ctx, "ip4", name)
	case dnsmessage.TypeAAAA:
		data, err = lookupAddresses(ctx, "ip6", name)
	case dnsmessage.TypeTXT:
		data, err = net.DefaultResolver.LookupTXT(ctx, name+".")
	default:
		return nil, false, fmt.Errorf("not asked: there is no call for %s", typeName(kind))
	}
	var known *net.DNSError
	if errors.As(err, &known) && known.IsNotFound {
		return data, true, errNoSuchName
	}
	return data, true, err
}

func lookupAddresses(ctx context.Context, network, name string) ([]string, error) {
	addresses, err := net.DefaultResolver.LookupNetIP(ctx, network, name)
	var data []string
	for _, address := range addresses {
		data = append(data, address.Unmap().String())
	}
	return data, err
}
