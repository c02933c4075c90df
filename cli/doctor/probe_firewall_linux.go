package doctor

import (
	"context"
	"errors"
	"io/fs"
	"os/exec"
	"time"
)

// nftPaths are absolute, as systemctl's are.
var nftPaths = []string{"/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft"}

// firewallRemedy says how to find the rule.
const firewallRemedy = "let packets of %s pass in the firewall; its rules: sudo nft list ruleset (or: sudo ip6tables -S)"

// ruleset is what nft lists, which only root may; "" else. Rules of iptables-nft
// are in it.
func ruleset(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, showLimit)
	defer cancel()
	for _, path := range nftPaths {
		command := exec.CommandContext(ctx, path, "--stateless", "list", "ruleset")
		command.WaitDelay = time.Second
		output, err := command.Output()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return ""
		}
		return string(output)
	}
	return ""
}
