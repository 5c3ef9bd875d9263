package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/socks"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

// What transports say of their failures is for programmers. Here it is put in
// terms of the flags of this program.

// dialAdvice is the text of err, which is why a hint has failed, for a user of
// this program.
func dialAdvice(h tub.HintStatus, err error) string {
	text := messageOf(err)
	switch byTor := strings.HasPrefix(h.Handler, "tor"); {
	case byTor && h.Hint.Type() == "tcp" && errors.Is(err, handlers.ErrInvalidHint):
		if kind := addressKind(h.Hint); kind != "" {
			return fmt.Sprintf("with --hidden it is dialled over Tor, and %s addresses cannot be reached over Tor; without --hidden it is dialled directly", kind)
		}
	case byTor:
		return messageOf(torAdvice(err))
	case errors.Is(err, socks.ErrCredentials):
		return strings.ReplaceAll(text, socks.ErrCredentials.Error(),
			"the proxy does not accept the user name and password, or wants some and has been given none; --socks-login FILE gives them")
	}
	return text
}

// addressKind is what keeps Tor from reaching an address that its handler does
// not take; "" for a name.
func addressKind(h furl.Hint) string {
	host, _, err := h.HostPort()
	if err != nil {
		return ""
	}
	switch ip, err := netip.ParseAddr(host); {
	case err != nil:
		return ""
	case ip.Is4():
		return "private"
	}
	return "IPv6"
}

// torAdvice returns err, the error of a transport that goes over tor, or if that
// cannot be connected to another one in its place. For the transport a tor is
// just a proxy; here it is what --tor has chosen.
func torAdvice(err error) error {
	var dial *net.OpError
	if !errors.Is(err, handlers.ErrProxyUnreachable) || !errors.As(err, &dial) || dial.Op != "dial" {
		return err
	}
	there, advice := "no tor there", "start one, or --tor launch, or on Debian --tor control:unix:/run/tor/control"
	if errors.Is(dial, fs.ErrPermission) {
		there, advice = "the tor there cannot be used", "let this user open its socket (on Debian, as a member of the group debian-tor), or --tor launch"
	}
	return errors.New(strings.ReplaceAll(err.Error(), handlers.ErrProxyUnreachable.Error(), there) + "; " + advice)
}

// A notDialled stands for the handler of a type of hints that a flag excludes.
type notDialled struct{ flag, why string }

func (n notDialled) Dial(context.Context, handlers.DialRequest) (handlers.Stream, error) {
	return handlers.Stream{}, &handlers.Error{
		Phase: handlers.PhaseParse,
		Err:   fmt.Errorf("with %s, hints of this type are not dialled: %s", n.flag, n.why),
	}
}

func (notDialled) DialTimeout() time.Duration { return 0 }

func (notDialled) Exposure() handlers.Exposure {
	return handlers.Exposure{HidesAddress: true, HidesLookups: true}
}

func (notDialled) Description() string { return "" }

func (notDialled) Close() error { return nil }
