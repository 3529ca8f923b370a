package sniff

import (
	"testing"

	"github.com/fairlead/fairlead/gateway/policy"
)

func TestHTTPIsToldWithItsHost(t *testing.T) {
	tests := []struct {
		name, head, host string
	}{
		{"a Host field", "GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n", "www.example.com"},
		{"a Host field among others", "GET / HTTP/1.1\r\nX-Host: no.example\r\nhOsT:\t Example.COM. \r\n", "example.com"},
		{"a Host field with a port", "POST /x HTTP/1.0\r\nHost: example.com:8080\r\n", "example.com"},
		{"lone line feeds", "GET / HTTP/1.1\nHost: example.com\n", "example.com"},
		{"an address", "GET / HTTP/1.1\r\nHost: 192.0.2.1:8080\r\n\r\n", ""},
		{"an IPv6 address", "GET / HTTP/1.1\r\nHost: [2001:db8::1]\r\n\r\n", ""},
		{"an IPv6 address with a port", "GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n", ""},
		{"an empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", ""},
		{"a Host that is no name", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", ""},
		{"no Host", "GET / HTTP/1.0\r\nAccept: */*\r\n\r\n", ""},
		{"a Host in the body", "POST / HTTP/1.0\r\n\r\nHost: body.example\r\n", ""},
		{"a line that is no field", "GET / HTTP/1.0\r\nwhat\r\nHost: example.com\r\n", "example.com"},
		{"two Hosts", "GET / HTTP/1.1\r\nHost: first.example\r\nHost: second.example\r\n", "first.example"},
		{"the absolute form", "GET http://abs.example/x HTTP/1.1\r\nHost: field.example\r\n", "abs.example"},
		{"the absolute form alone", "GET HTTP://Abs.Example:81?q HTTP/1.1\r\n", "abs.example"},
		{"the absolute form with an address", "GET http://192.0.2.1/ HTTP/1.1\r\nHost: field.example\r\n", ""},
		{"the absolute form with a user", "GET http://u:p@abs.example/ HTTP/1.1\r\n", "abs.example"},
		{"an address in a path", "GET /http://no.example/ HTTP/1.1\r\nHost: field.example\r\n", "field.example"},
		{"an address in a query", "GET ?u=http://no.example/ HTTP/1.1\r\nHost: field.example\r\n", "field.example"},
		{"CONNECT", "CONNECT Example.com:443 HTTP/1.1\r\nHost: field.example\r\n", "example.com"},
		{"CONNECT to an address", "CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: field.example\r\n", ""},
		{"the asterisk form", "OPTIONS * HTTP/1.1\r\nHost: example.com\r\n", "example.com"},
		{"a space in the path", "GET /a b HTTP/1.1\r\nHost: example.com\r\n", "example.com"},
		{"SEARCH", "SEARCH / HTTP/1.1\r\nHost: example.com\r\n", "example.com"},
	}
	for _, tt := range tests {
		want := Result{Protocol: policy.HTTP, Host: tt.host}
		if got, err := Stream([]byte(tt.head)); got != want || err != nil {
			t.Errorf("%s: Stream(%q) = %+v, %v, want %+v", tt.name, tt.head, got, err, want)
		}
		checkPrefixes(t, tt.name, []byte(tt.head))
	}
}

func TestHTTPWaitsForItsHost(t *testing.T) {
	for _, head := range []string{
		"G", "GET", "GET ", "GET /", "GET / HTTP/1.1", "GET / HTTP/1.1\r", "GET / HTTP/1.1\r\n",
		"GET / HTTP/1.1\r\nHost: exam", "GET / HTTP/1.1\r\nHost: example.com\r", "PRI * HTTP/2.0\r\n",
	} {
		if got, err := Stream([]byte(head)); got != (Result{}) || err != ErrMore {
			t.Errorf("Stream(%q) = %+v, %v, want the zero Result, ErrMore", head, got, err)
		}
	}
}

func TestWhatOnlyResemblesHTTPIsUnknown(t *testing.T) {
	for _, head := range []string{
		"OPTIONS rtsp://example.com RTSP/1.0\r\nHost: example.com\r\n",
		"OPTIONS sip:a@example.com SIP/2.0\r\n",
		"GET / HTTP/2.0\r\nHost: example.com\r\n",
		"GET /\r\nHost: example.com\r\n",
		"GET HTTP/1.1\r\nHost: example.com\r\n",
		"GET / HTTP/1.1\rX",
		"GET \x00\x01",
		"get / HTTP/1.1\r\n",
		"NICK example\r\n",
	} {
		if got, err := Stream([]byte(head)); got != (Result{}) || err != nil {
			t.Errorf("Stream(%q) = %+v, %v, want the zero Result, final", head, got, err)
		}
		checkPrefixes(t, head, []byte(head))
	}
}
