package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strconv"
	"strings"
)

// caller makes the calls of one connection, as AWS's clients write them, and does as little else as
// possible: client and server share the machine, and it is the server that is measured. An SDK takes
// several times as long for a call as the server does.
type caller struct {
	addr string
	conn net.Conn
	in   *bufio.Reader
	out  bytes.Buffer
}

// call sends one request of ECS and reads the answer.
func (c *caller) call(operation, body string) error {
	if c.conn == nil {
		conn, err := net.Dial("tcp", c.addr)
		if err != nil {
			return err
		}
		c.conn, c.in = conn, bufio.NewReaderSize(conn, 64<<10)
	}
	c.out.Reset()
	fmt.Fprintf(&c.out, "POST / HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench\r\nContent-Length: %d\r\nContent-Type: application/x-amz-json-1.1\r\nX-Amz-Date: 20260101T000000Z\r\n"+
		"X-Amz-Target: AmazonEC2ContainerServiceV20141113.%s\r\nAuthorization: AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/ecs/aws4_request, SignedHeaders=content-length;content-type;host;x-amz-date;x-amz-target, Signature=%064x\r\n\r\n%s",
		c.addr, len(body), operation, 0, body)
	if _, err := c.conn.Write(c.out.Bytes()); err != nil {
		return err
	}
	status, size, last, err := c.head()
	if err != nil {
		return fmt.Errorf("reading the answer to %s: %w", operation, err)
	}
	answer := io.Reader(io.LimitReader(c.in, int64(size)))
	if size < 0 {
		answer, last = c.in, true
	}
	if status != "200" {
		text, _ := io.ReadAll(answer)
		return fmt.Errorf("%s: %s: %s", operation, status, text)
	}
	if _, err := io.Copy(io.Discard, answer); err != nil {
		return err
	}
	if last {
		c.close()
	}
	return nil
}

// head reads the status and the headers of an answer: how long it is (-1: to the end), and whether the
// server hangs up after it.
func (c *caller) head() (status string, size int, last bool, err error) {
	size = -1
	r := textproto.NewReader(c.in)
	line, err := r.ReadLineBytes()
	if err != nil {
		return "", 0, false, err
	}
	if len(line) < 12 {
		return "", 0, false, fmt.Errorf("%q is no status line", line)
	}
	status, last = string(line[9:12]), strings.HasPrefix(string(line), "HTTP/1.0")
	for {
		line, err := r.ReadLineBytes()
		if err != nil || len(line) == 0 {
			return status, size, last, err
		}
		k, v, _ := bytes.Cut(line, []byte(": "))
		switch {
		case bytes.EqualFold(k, []byte("Content-Length")):
			if size, err = strconv.Atoi(string(v)); err != nil {
				return "", 0, false, err
			}
		case bytes.EqualFold(k, []byte("Connection")):
			last = bytes.EqualFold(v, []byte("close"))
		}
	}
}

func (c *caller) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}
