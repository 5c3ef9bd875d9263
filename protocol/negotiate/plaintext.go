package negotiate

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/foolscap-go/foolscap/protocol/furl"
)

// appendRequest appends what the client sends first.
func appendRequest(dst []byte, target furl.TubID, host string) []byte {
	return fmt.Appendf(dst, "GET /id/%s HTTP/1.1\r\nHost: %s\r\nUpgrade: TLS/1.0\r\nConnection: Upgrade\r\n\r\n", target, host)
}

// response is the server's consent, behind which TLS begins.
const response = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: TLS/1.0, PB/1.0\r\nConnection: Upgrade\r\n\r\n"

const refusalStatus = "500 Internal Server Error: "

// appendPlainRefusal appends how a server refuses before TLS.
func appendPlainRefusal(dst []byte, text string) []byte {
	return fmt.Appendf(dst, "HTTP/1.1 %s%s\r\n\r\n", refusalStatus, oneLine(text))
}

// maxHeaderText bounds what we put into a line of our own, in bytes.
const maxHeaderText = 255

// headerSafe reports whether a text can stand in a line without ending it or
// starting another: hosts come out of FURLs, and TubIDs from strangers.
func headerSafe(text string) bool {
	for i := range len(text) {
		if text[i] <= ' ' || text[i] >= 0x7f {
			return false
		}
	}
	return len(text) <= maxHeaderText
}

// parseRequest returns the Tub that a client asks for. Only the first line
// counts.
func parseRequest(b []byte) (furl.TubID, error) {
	line, _, _ := bytes.Cut(b, []byte("\r\n"))
	f := fields(string(line))
	if !bytes.HasPrefix(line, []byte("GET ")) || len(f) != 3 {
		return "", refuse(ErrMalformed, "the request is not a GET")
	}
	id, ok := strings.CutPrefix(f[1], "/id/")
	switch {
	case !ok:
		return "", refuse(ErrMalformed, "the request is not for a TubID; a web browser, perhaps")
	case id == "":
		return "", tellReason(ErrUnknownTub, textNoTubID)
	case !headerSafe(id): // not to be repeated in an answer
		return "", refuse(ErrMalformed, "the TubID asked for has bytes that no TubID has")
	case !furl.TubID(id).Valid():
		return "", unknownTub(furl.TubID(id))
	}
	return furl.TubID(id), nil
}

// unknownTub is the same for a Tub that never was here and one that is here no
// more.
func unknownTub(id furl.TubID) error {
	return tellReason(ErrUnknownTub, textUnknownTub+string(id))
}

// parseResponse returns nil if the server agrees to go on.
func parseResponse(b []byte) error {
	line, _, _ := strings.Cut(string(b), "\r\n")
	f := fields(line)
	switch {
	case len(f) < 2 || !strings.HasPrefix(f[0], "HTTP/"):
		return refuse(ErrMalformed, "the answer begins with %q", printable(line, 80))
	case f[1] != "101":
		_, status, _ := strings.Cut(line, " ")
		return remoteError(strings.TrimPrefix(status, refusalStatus))
	case !bytes.Contains(b, []byte("Upgrade: TLS/1.0")):
		return refuse(ErrMalformed, "the server switches to another protocol than TLS")
	}
	return nil
}
