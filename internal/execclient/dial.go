package execclient

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"

	"golang.org/x/net/websocket"
)

// dial opens a WebSocket, through the proxy of the environment if there is one for the address.
func dial(ctx context.Context, address string) (*websocket.Conn, error) {
	at, err := url.Parse(address)
	if err != nil {
		return nil, errors.New("the session's address is no URL") // it is a secret of the session
	}
	secure := at.Scheme == "wss"
	if !secure && at.Scheme != "ws" || at.Host == "" {
		return nil, errors.New("the session's address is not of a WebSocket")
	}
	scheme, port := "http", "80"
	if secure {
		scheme, port = "https", "443"
	}
	cfg, err := websocket.NewConfig(address, scheme+"://"+at.Host)
	if err != nil {
		return nil, errors.New("the session's address is not of a WebSocket")
	}
	if p := at.Port(); p != "" {
		port = p
	}
	conn, err := reach(ctx, &url.URL{Scheme: scheme, Host: at.Host}, net.JoinHostPort(at.Hostname(), port))
	if err != nil {
		return nil, err
	}
	if secure {
		t := tls.Client(conn, &tls.Config{ServerName: at.Hostname(), MinVersion: tls.VersionTLS12})
		if err := t.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			return nil, fmt.Errorf("reaching %s: %w", at.Host, err)
		}
		conn = t
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	ws, err := websocket.NewClient(cfg, conn)
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("reaching %s: %w", at.Host, err)
	}
	return ws, nil
}

// reach connects to host:port, by CONNECT where a proxy is to be used.
func reach(ctx context.Context, site *url.URL, hostPort string) (net.Conn, error) {
	var d net.Dialer
	proxy, err := http.ProxyFromEnvironment(&http.Request{URL: site})
	if err != nil {
		return nil, fmt.Errorf("finding the proxy for %s: %w", site.Host, err)
	}
	if proxy == nil {
		return d.DialContext(ctx, "tcp", hostPort)
	}
	if proxy.Scheme != "http" {
		return nil, fmt.Errorf("not supported: a proxy by %s", proxy.Scheme)
	}
	at := proxy.Host
	if proxy.Port() == "" {
		at = net.JoinHostPort(proxy.Hostname(), "80")
	}
	conn, err := d.DialContext(ctx, "tcp", at)
	if err != nil {
		return nil, fmt.Errorf("reaching the proxy %s: %w", at, err)
	}
	ask := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: hostPort}, Host: hostPort, Header: http.Header{}}
	if u := proxy.User; u != nil {
		password, _ := u.Password()
		ask.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(u.Username()+":"+password)))
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if err = ask.Write(conn); err == nil {
		var answer *http.Response
		// Nothing follows the answer before we speak: no byte is lost in this reader.
		if answer, err = http.ReadResponse(bufio.NewReader(conn), ask); err == nil {
			_ = answer.Body.Close()
			if answer.StatusCode != http.StatusOK {
				err = errors.New(answer.Status)
			}
		}
	}
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("going through the proxy %s: %w", at, err)
	}
	return conn, nil
}
