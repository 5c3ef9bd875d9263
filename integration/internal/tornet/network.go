package tornet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// PublicIP is an address of the namespace's loopback interface. It stands for a host on the open Internet: the exit
	// relay connects to it.
	PublicIP = "203.0.113.5"

	authorityCount = 3
	relayCount     = 2 // the last of them is the exit
	nodeCount      = authorityCount + relayCount

	// The namespace is ours alone, so that ports need no more than an order. They are below those that the kernel gives
	// away.
	firstORPort     = 5000
	firstDirPort    = 7000
	firstClientPort = 10000

	// startTimeout is how long the network may take to become usable; 15 s is normal on two cores.
	startTimeout = 90 * time.Second
)

// Network is a running Tor network. Its methods may be called concurrently.
type Network struct {
	dir   string
	torrc []string // what makes a tor one of this network
	nodes []*process

	names   net.PacketConn
	running sync.WaitGroup

	clients  atomic.Int32
	stopOnce sync.Once

	client    sync.Once
	shared    Tor
	clientErr error
}

// Start starts a network in the namespace of this process and waits until all relays are in the consensus. Tests use
// Shared instead, unless it is the network itself that they test.
func Start(ctx context.Context) (*Network, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	dir, err := os.MkdirTemp("", "tornet") // short, since sockets are in it
	if err != nil {
		return nil, err
	}
	n := &Network{dir: dir}
	if err := n.start(ctx); err != nil {
		report := n.logs()
		n.Stop()
		return nil, fmt.Errorf("starting a Tor network: %w\n%s", err, report)
	}
	return n, nil
}

func (n *Network) start(ctx context.Context) error {
	resolver := filepath.Join(n.dir, "resolv.conf")
	if err := os.WriteFile(resolver, []byte("nameserver 127.0.0.1\n"), 0o600); err != nil {
		return err
	}
	if err := n.serveNames(); err != nil {
		return err
	}
	authorities, err := n.makeKeys(ctx)
	if err != nil {
		return err
	}
	n.torrc = []string{
		"TestingTorNetwork 1",
		"Address 127.0.0.1",
		"AssumeReachable 1",
		"ShutdownWaitLength 0",
		"PathsNeededToBuildCircuits 0.67",
		"TestingDirAuthVoteExit *",
		"TestingDirAuthVoteHSDir *",
		"TestingMinExitFlagThreshold 0",
		"V3AuthNIntervalsValid 2",
		// Parsing the real files takes seconds.
		"GeoIPFile /dev/null",
		"GeoIPv6File /dev/null",
		// An exit would otherwise ask the machine's resolver.
		"ServerDNSResolvConfFile " + resolver,
		"ServerDNSDetectHijacking 0",
		"ServerDNSTestAddresses",
		"ServerDNSAllowBrokenConfig 1",
		"ServerDNSSearchDomains 0",
	}
	var guards []string
	for _, a := range authorities {
		n.torrc = append(n.torrc, a.line)
		guards = append(guards, "$"+a.fingerprint)
	}
	relay := []string{
		// Other guards lack descriptors at first, and a client would wait for them.
		"TestingDirAuthVoteGuard " + strings.Join(guards, ","),
		"TestingDirAuthVoteGuardIsStrict 1",
		"Schedulers Vanilla", // a cell's way takes 1 ms instead of 15
		"SocksPort 0",
	}
	// The voting interval is 5 s at first; the sooner the first vote, the sooner there is a network.
	offset := ((time.Now().Unix()-3)%5 + 5) % 5
	authority := append([]string{
		"AuthoritativeDirectory 1",
		"V3AuthoritativeDirectory 1",
		"ContactInfo nobody",
		"ExitRelay 0",
		"TestingV3AuthInitialVotingInterval 5",
		"TestingV3AuthInitialVoteDelay 2",
		"TestingV3AuthInitialDistDelay 2",
		"V3AuthVotingInterval 10",
		"V3AuthVoteDelay 2",
		"V3AuthDistDelay 2",
		fmt.Sprintf("TestingV3AuthVotingStartOffset %d", offset),
	}, relay...)
	exit := append([]string{
		"ExitRelay 1",
		"ExitPolicyRejectPrivate 0",
		"ExitPolicy accept *:*",
	}, relay...)
	relay = append(relay, "ExitRelay 0")
	for i := range nodeCount {
		name, lines := nodeName(i), relay
		switch {
		case i < authorityCount:
			lines = append(authority, fmt.Sprintf("DirPort %d", firstDirPort+i))
		case i == nodeCount-1:
			lines = exit
		}
		p := newProcess(filepath.Join(n.dir, name), name, n.torrc, lines, []string{fmt.Sprintf("OrPort %d", firstORPort+i)})
		if err := p.start(); err != nil {
			return err
		}
		n.nodes = append(n.nodes, p)
	}
	return n.waitForConsensus(ctx)
}

func nodeName(i int) string { return fmt.Sprintf("node%d", i) }

// authority is what everybody has to know of a directory authority.
type authority struct{ fingerprint, line string }

// makeKeys makes the keys of the directory authorities in their data directories.
func (n *Network) makeKeys(ctx context.Context) ([]authority, error) {
	made := make([]authority, authorityCount)
	errs := make([]error, authorityCount)
	var all sync.WaitGroup
	for i := range made {
		all.Go(func() { made[i], errs[i] = makeAuthority(ctx, filepath.Join(n.dir, nodeName(i)), i) })
	}
	all.Wait()
	return made, errors.Join(errs...)
}

var fingerprintLine = regexp.MustCompile(`(?m)^fingerprint (\w+)$`)

func makeAuthority(ctx context.Context, dir string, i int) (authority, error) {
	keys := filepath.Join(dir, "keys")
	if err := os.MkdirAll(keys, 0o700); err != nil {
		return authority{}, err
	}
	certificate := filepath.Join(keys, "authority_certificate")
	dirAddress := fmt.Sprintf("127.0.0.1:%d", firstDirPort+i)
	if _, err := run(ctx, "passphrase\n", "tor-gencert", "--create-identity-key", "--passphrase-fd", "0",
		"-i", filepath.Join(keys, "authority_identity_key"), "-s", filepath.Join(keys, "authority_signing_key"),
		"-c", certificate, "-m", "12", "-a", dirAddress); err != nil {
		return authority{}, err
	}
	text, err := os.ReadFile(certificate)
	if err != nil {
		return authority{}, err
	}
	identity := fingerprintLine.FindSubmatch(text)
	if identity == nil {
		return authority{}, fmt.Errorf("%s: there is no fingerprint in it", certificate)
	}
	output, err := run(ctx, "", "tor", "--ignore-missing-torrc", "-f", "/nonexistent", "--defaults-torrc", "/nonexistent",
		"--list-fingerprint", "--orport", "1", "--nickname", nodeName(i), "--datadirectory", dir, "--quiet")
	if err != nil {
		return authority{}, err
	}
	words := strings.Fields(output) // the nickname, and the fingerprint in groups of four digits
	if len(words) != 11 {
		return authority{}, fmt.Errorf("tor --list-fingerprint answered %q", output)
	}
	fingerprint := strings.Join(words[1:], "")
	return authority{fingerprint, fmt.Sprintf("DirAuthority %s orport=%d no-v2 v3ident=%s %s %s",
		nodeName(i), firstORPort+i, identity[1], dirAddress, fingerprint)}, nil
}

func run(ctx context.Context, input, name string, arguments ...string) (string, error) {
	path, err := program(name)
	if err != nil {
		return "", err
	}
	command := exec.CommandContext(ctx, path, arguments...)
	command.Stdin = strings.NewReader(input)
	var stderr strings.Builder
	command.Stderr = &stderr
	output, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", name, err, &stderr)
	}
	return string(output), nil
}

// waitForConsensus waits until every authority has a consensus with all relays in it. A client that came earlier would
// think that it has seen the whole network.
func (n *Network) waitForConsensus(ctx context.Context) error {
	// tor compresses in a way that net/http does not undo.
	client := &http.Client{Transport: &http.Transport{DisableCompression: true, DisableKeepAlives: true}}
	return poll(ctx, 100*time.Millisecond, func() error {
		for _, p := range n.nodes {
			if p.ended() {
				return fmt.Errorf("%s %w", p.name, errEnded)
			}
		}
		for i := range authorityCount {
			url := fmt.Sprintf("http://127.0.0.1:%d/tor/status-vote/current/consensus-microdesc", firstDirPort+i)
			usable, err := usableRelays(ctx, client, url)
			switch {
			case err != nil:
				return fmt.Errorf("no consensus yet: %w", err)
			case usable < nodeCount:
				return fmt.Errorf("the consensus has %d usable relays out of %d", usable, nodeCount)
			}
		}
		return nil
	})
}

func usableRelays(ctx context.Context, client *http.Client, url string) (int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	consensus, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err
	}
	if response.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("GET %s: %s", url, response.Status)
	}
	usable := 0
	for line := range strings.Lines(string(consensus)) {
		if flags := strings.Fields(line); len(flags) > 0 && flags[0] == "s" && contains(flags, "Running", "HSDir") {
			usable++
		}
	}
	return usable, nil
}

func contains(words []string, wanted ...string) bool {
	found := 0
	for _, word := range words {
		for _, w := range wanted {
			if word == w {
				found++
			}
		}
	}
	return found == len(wanted)
}

// poll calls attempt until it succeeds, or fails with errEnded, and returns its last error when ctx ends first.
func poll(ctx context.Context, every time.Duration, attempt func() error) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		err := attempt()
		if err == nil || errors.Is(err, errEnded) {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}

// Torrc returns the lines that make a tor one of this network, for a tor that something else starts.
func (n *Network) Torrc() []string { return append([]string(nil), n.torrc...) }

// Stop kills the processes of the network and removes their files. Clients end with their tests.
func (n *Network) Stop() {
	n.stopOnce.Do(func() {
		for _, p := range n.nodes {
			p.kill()
		}
		if n.names != nil {
			n.names.Close()
		}
		n.running.Wait()
		_ = os.RemoveAll(n.dir)
	})
}

// logs returns the end of what every node has written.
func (n *Network) logs() string {
	var all strings.Builder
	for _, p := range n.nodes {
		fmt.Fprintf(&all, "%s:\n%s", p.name, p.log())
	}
	return all.String()
}
