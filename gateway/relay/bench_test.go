package relay

import (
	"context"
	"io"
	"net"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// cpu is the processor time that this process has used.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkBulk moves a gigabyte's worth of megabytes down; its CPU includes
// the far ends, which copy once more each.
func BenchmarkBulk(b *testing.B) {
	for name, wrap := range map[string]func(net.Conn) net.Conn{
		"splice": nil,
		"copy":   func(c net.Conn) net.Conn { return opaque{c} },
	} {
		b.Run(name, func(b *testing.B) {
			l := start(b, nil, time.Minute, wrap)
			l.server.SetDeadline(time.Time{})
			l.client.SetDeadline(time.Time{})
			chunk := make([]byte, 1<<20)
			b.SetBytes(int64(len(chunk)))
			began := cpu(b)
			b.ResetTimer()
			go func() {
				for range b.N {
					l.server.Write(chunk)
				}
				l.server.CloseWrite()
			}()
			io.CopyBuffer(struct{ io.Writer }{io.Discard}, l.client, chunk)
			b.StopTimer()
			b.ReportMetric((cpu(b)-began).Seconds()/float64(b.N)*1024, "cpu-s/GB")
			l.client.CloseWrite()
			l.wait(b)
		})
	}
}

// BenchmarkIoCopy is the same with what the standard library does by itself.
func BenchmarkIoCopy(b *testing.B) {
	client, clientFar := pair(b)
	upstream, serverFar := pair(b)
	go func() {
		io.Copy(client, upstream)
		client.CloseWrite()
	}()
	for _, c := range []*net.TCPConn{client, clientFar, upstream, serverFar} {
		c.SetDeadline(time.Time{})
	}
	chunk := make([]byte, 1<<20)
	b.SetBytes(int64(len(chunk)))
	began := cpu(b)
	b.ResetTimer()
	go func() {
		for range b.N {
			serverFar.Write(chunk)
		}
		serverFar.CloseWrite()
	}()
	io.CopyBuffer(struct{ io.Writer }{io.Discard}, clientFar, chunk)
	b.StopTimer()
	b.ReportMetric((cpu(b)-began).Seconds()/float64(b.N)*1024, "cpu-s/GB")
}

// BenchmarkShortFlow is a whole flow of a ClientHello up and 96 bytes down, the
// four sockets included.
func BenchmarkShortFlow(b *testing.B) {
	hello, answer := make([]byte, 517), make([]byte, 96)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	clients, upstreams := dialer(b), dialer(b)
	began := cpu(b)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		client, clientFar := clients()
		upstream, serverFar := upstreams()
		done := make(chan struct{})
		go func() {
			defer close(done)
			Pipe(ctx, client, upstream, hello, time.Minute, new(Counts))
		}()
		io.ReadFull(serverFar, hello)
		serverFar.Write(answer)
		serverFar.Close()
		io.ReadFull(clientFar, answer)
		Abort(clientFar)
		<-done
	}
	b.ReportMetric(float64((cpu(b)-began).Microseconds())/float64(b.N), "cpu-µs/flow")
}

// dialer gives pairs of one listener.
func dialer(b *testing.B) func() (near, far *net.TCPConn) {
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	return func() (near, far *net.TCPConn) {
		far, err := net.DialTCP("tcp4", nil, l.Addr().(*net.TCPAddr))
		if err != nil {
			b.Fatal(err)
		}
		if near, err = l.AcceptTCP(); err != nil {
			b.Fatal(err)
		}
		return near, far
	}
}

// BenchmarkIdleFlow says what an idle flow holds in memory and descriptors.
func BenchmarkIdleFlow(b *testing.B) {
	ctx, cancel := context.WithCancel(context.Background())
	var before, after runtime.MemStats
	ends := make([]net.Conn, 0, 4*b.N)
	for range b.N {
		client, clientFar := pair(b)
		upstream, serverFar := pair(b)
		ends = append(ends, client, clientFar, upstream, serverFar)
	}
	runtime.GC()
	runtime.ReadMemStats(&before)
	done := make(chan struct{}, b.N)
	for i := 0; i < len(ends); i += 4 {
		go func() {
			Pipe(ctx, ends[i], ends[i+2], nil, time.Minute, new(Counts))
			done <- struct{}{}
		}()
		ends[i+3].Write(make([]byte, 100))
		io.ReadFull(ends[i+1], make([]byte, 100))
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc+after.StackInuse-before.HeapAlloc-before.StackInuse)/float64(b.N), "B/flow")
	cancel()
	for range b.N {
		<-done
	}
}
