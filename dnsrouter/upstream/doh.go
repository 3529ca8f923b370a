//go:build !tiny

package upstream

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/dnsrouter/wire"
)

// HasHTTPS says whether this build can ask servers of scheme https.
const HasHTTPS = true

// mediaType is that of a DNS message (RFC 8484 section 6).
const mediaType = "application/dns-message"

// maxHeader bounds the header of an answer, in octets.
const maxHeader = 16 << 10

// oneByOne is how many connections a server gets that has HTTP/1 only: each
// carries one question at a time, and a page asks for dozens of names.
const oneByOne = 8

// doh asks over HTTPS (RFC 8484).
type doh struct {
	target *target
	url    string
	begin  func(conns int) *session

	mu      sync.Mutex // guards the fields below
	conns   int        // that a session may have
	session *session
}

// session is an HTTP client and its connections. One whose connections are
// half-open is replaced as a whole.
type session struct {
	http.RoundTripper
	end   func()       // closes connections that carry nothing
	heard atomic.Int64 // answers received
}

func newWeb(t *target, begin func(conns int) *session) *doh {
	return &doh{target: t, url: t.url(), begin: begin, conns: 1, session: begin(1)}
}

// newDoH asks by HTTP/2 where the server has it.
func newDoH(t *target) *doh {
	config := t.tlsConfig()
	return newWeb(t, func(conns int) *session { return newSession(t, config, conns) })
}

// url is where to post. The path is taken as it was written: it may have a query
// behind it, and escapes.
func (t *target) url() string {
	host := t.cfg.Host
	if host == "" {
		host = t.cfg.Addr.Addr().String()
	}
	if strings.Contains(host, ":") { // an address of IPv6, RFC 3986 section 3.2.2
		host = "[" + host + "]"
	}
	if port := t.cfg.Addr.Port(); port != 443 {
		host += ":" + strconv.Itoa(int(port))
	}
	path := t.cfg.Path
	if path == "" {
		path = "/dns-query"
	}
	return "https://" + host + path
}

func newSession(t *target, config *tls.Config, conns int) *session {
	s := &http.Transport{}
	s.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		// A Transport may go on dialling after its question has ended.
		ctx, cancel := context.WithTimeout(ctx, totalTime)
		defer cancel()
		defer context.AfterFunc(t.env.ctx, cancel)()
		return t.dialTCP(ctx)
	}
	s.TLSClientConfig = config.Clone() // with the same sessions to be resumed
	s.ForceAttemptHTTP2 = true
	s.TLSHandshakeTimeout = totalTime
	s.IdleConnTimeout = t.env.idle
	s.MaxConnsPerHost = conns // else each of the first questions opens a connection of its own
	s.MaxIdleConnsPerHost = conns
	s.DisableCompression = true
	s.MaxResponseHeaderBytes = maxHeader
	return &session{RoundTripper: s, end: s.CloseIdleConnections}
}

// ask posts the question; by a new session, too, if one that answered before says
// nothing for a while, or if its connection ended.
func (d *doh) ask(ctx context.Context, q Question) ([]byte, error) {
	query, err := newQuery(q, 0, true, false) // id 0, for caches (RFC 8484 section 4.1)
	if err != nil {
		return nil, err
	}
	d.target.told(q, nil)
	d.mu.Lock()
	s := d.session
	d.mu.Unlock()
	heard := s.heard.Load()
	if heard == 0 {
		answer, err := d.post(ctx, s, query)
		if errors.Is(err, context.DeadlineExceeded) && s.heard.Load() == 0 {
			d.replace(s) // the next question is not to wait in vain, too
		}
		return answer, err
	}

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	outcomes := make(chan outcome, 2)
	post := func(s *session) {
		d.target.env.running.Go(func() {
			answer, err := d.post(ctx, s, query)
			outcomes <- outcome{answer, err}
		})
	}
	post(s)
	doubt := time.NewTimer(silence)
	defer doubt.Stop()
	for posted, ended := 1, 0; ; {
		select {
		case o := <-outcomes:
			ended++
			if !errors.Is(o.err, errGone) || ended == 2 {
				return o.answer, o.err
			}
		case <-doubt.C:
			if s.heard.Load() != heard {
				continue
			}
		}
		if posted == 1 {
			posted++
			post(d.replace(s))
		}
	}
}

// replace begins a new session in the place of one that is dead.
func (d *doh) replace(dead *session) *session {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.session == dead {
		d.session = d.begin(d.conns)
		dead.end()
	}
	return d.session
}

// spread gives a server that has HTTP/1 only a session with more connections.
func (d *doh) spread() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conns == oneByOne {
		return
	}
	d.conns = oneByOne
	d.session.end()
	d.session = d.begin(d.conns)
}

// post sends a query by a session and returns the answer. The error is errGone
// where the connection, not the server, is at fault.
func (d *doh) post(ctx context.Context, s *session, query []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.url, bytes.NewReader(query))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", mediaType)
	req.Header.Set("Accept", mediaType)
	req.Header.Set("User-Agent", "") // tell nothing of us
	resp, err := s.RoundTrip(req)
	if err != nil {
		return nil, gone(ctx, err)
	}
	defer resp.Body.Close()
	s.heard.Add(1)
	if resp.ProtoMajor == 1 {
		d.spread()
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %s", resp.Status)
	}
	if got := resp.Header.Get("Content-Type"); got != mediaType {
		return nil, fmt.Errorf("answer of type %q", got)
	}
	answer, err := io.ReadAll(io.LimitReader(resp.Body, wire.MaxMessage+1))
	if err != nil {
		return nil, gone(ctx, err)
	}
	if err := wire.Validate(answer, query, false); err != nil {
		return nil, err
	}
	if wire.IsTruncated(answer) {
		return nil, errInPart
	}
	return answer, nil
}

// gone marks what failed for want of a connection. A refused certificate is an
// answer of a kind, and a context's end has its own reason.
func gone(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return err
	}
	return fmt.Errorf("%w: %w", errGone, err)
}
