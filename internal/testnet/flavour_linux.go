package testnet

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// ownResolv is a resolv.conf that nobody manages. Its limits are short for the
// rigs in which no name server answers.
const ownResolv = "nameserver " + ResolverAddr + "\noptions timeout:1 attempts:1\n"

// Files that lead a flavour's resolver to ResolverAddr.
const (
	resolvedConf = "[Resolve]\nDNS=" + ResolverAddr + "\nFallbackDNS=\n"
	dnsmasqConf  = "[main]\ndns=dnsmasq\n"
	// wiredProfile has NetworkManager manage eth0 itself, with the addresses
	// that the topology gave it.
	wiredProfile = `[connection]
id=wired
uuid=4b4a1d0e-6c36-4c4e-9a39-0f8a1f0f4d11
type=ethernet
interface-name=eth0
autoconnect=true

[ipv4]
method=manual
address1=%s,%s
dns=` + ResolverAddr + `;

[ipv6]
method=disabled
`
)

// seed is what a flavour's root file system gets before it boots, by path.
func seed(ctx context.Context, host *Host, flavour Flavour) (map[string]string, error) {
	switch flavour {
	case Plain:
		return map[string]string{"etc/resolv.conf": ownResolv}, nil
	case Resolved:
		return map[string]string{"etc/systemd/resolved.conf.d/internet.conf": resolvedConf}, nil
	case NetworkManager, Dnsmasq:
		files := map[string]string{}
		if flavour == Dnsmasq {
			files["etc/NetworkManager/conf.d/dns.conf"] = dnsmasqConf
		}
		output, err := host.Shell(ctx, `ip -o -4 addr show dev eth0 | awk '{print $4}'; ip -4 route show default | awk '{print $3}'`)
		if err != nil {
			return nil, err
		}
		fields := strings.Fields(output)
		if len(fields) != 2 {
			return nil, fmt.Errorf("read eth0 of %s: %q is not an address and a gateway", host.Name, output)
		}
		files["etc/NetworkManager/system-connections/wired.nmconnection"] = fmt.Sprintf(wiredProfile, fields[0], fields[1])
		return files, nil
	case OpenResolv, Resolvconf:
		// They are told after the boot, by settle.
	}
	return nil, nil
}

// plant writes the seed where lab.sh takes it from. Profiles of NetworkManager
// must be root's alone; nothing else minds.
func plant(dir string, files map[string]string) error {
	for path, content := range files {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		mode := os.FileMode(0o644)
		if strings.HasSuffix(path, ".nmconnection") {
			mode = 0o600
		}
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			return err
		}
	}
	return nil
}

// settle ends the boot of a flavour: what its network scripts would have done.
func (s *System) settle(ctx context.Context, flavour Flavour) error {
	script := ""
	switch flavour {
	case OpenResolv, Resolvconf:
		script = `echo nameserver ` + ResolverAddr + ` | resolvconf -a eth0`
	case NetworkManager, Dnsmasq:
		// NetworkManager says it is up before its resolver is.
		script = `nm-online -q -t 60; until grep -q ^nameserver /etc/resolv.conf; do sleep 0.05; done`
	default:
		return nil
	}
	_, err := s.Run(ctx, "sh", "-ec", script)
	return err
}
