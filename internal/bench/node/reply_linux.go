package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv6"
)

// echoEvery is how often the first reply is asked for: the resolution of what
// is measured.
const echoEvery = 2 * time.Millisecond

// firstReply asks for an ICMPv6 echo again and again, also while there is no
// route yet, until one comes back.
func firstReply(ctx context.Context, flags *flag.FlagSet, args []string) error {
	addr := flags.String("addr", "", "IPv6 address")
	limit := flags.Duration("limit", 20*time.Second, "how long to try")
	if err := flags.Parse(args); err != nil {
		return err
	}
	conn, err := icmp.ListenPacket("ip6:ipv6-icmp", "::")
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, *limit)
	defer cancel()
	request, err := (&icmp.Message{Type: ipv6.ICMPTypeEchoRequest, Body: &icmp.Echo{ID: os.Getpid() & 0xffff, Data: []byte("causeway")}}).Marshal(nil)
	if err != nil {
		return err
	}
	target := &net.IPAddr{IP: net.ParseIP(*addr)}
	fmt.Println("ready")
	buffer := make([]byte, 1500)
	for ctx.Err() == nil {
		// No route, or nobody there yet: that is what we wait to end.
		_, _ = conn.WriteTo(request, target)
		until := time.Now().Add(echoEvery)
		for time.Now().Before(until) {
			if err := conn.SetReadDeadline(until); err != nil {
				return err
			}
			count, from, err := conn.ReadFrom(buffer)
			if err != nil {
				break
			}
			if count > 0 && buffer[0] == byte(ipv6.ICMPTypeEchoReply) && from.(*net.IPAddr).IP.Equal(target.IP) {
				fmt.Println(time.Now().UnixNano())
				return nil
			}
		}
	}
	return errors.New("no reply")
}
