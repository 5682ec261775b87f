package notify

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	mail "github.com/wneessen/go-mail"

	"github.com/slipway-ecs/slipway/internal/pipeline"
	"github.com/slipway-ecs/slipway/internal/service"
)

func (n *Notifier) mail(ctx context.Context, to service.Notice, e pipeline.Event) (func(context.Context) error, error) {
	m := messageOf(e)
	subject, err := render(to.Name, to.Subject, defaultSubject, m)
	if err != nil {
		return nil, err
	}
	text, err := render(to.Name, to.Template, defaultText, m)
	if err != nil {
		return nil, err
	}
	host, portText, err := net.SplitHostPort(to.SMTP)
	if err != nil {
		return nil, fmt.Errorf("mail server %s: %w", to.SMTP, err)
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return nil, fmt.Errorf("mail server %s: %w", to.SMTP, err)
	}
	msg := mail.NewMsg()
	if err := msg.From(to.From); err != nil {
		return nil, fmt.Errorf("sender %s: %w", to.From, err)
	}
	if err := msg.To(to.To...); err != nil {
		return nil, fmt.Errorf("recipients: %w", err)
	}
	msg.Subject(subject)
	msg.SetDate()
	_, domain, _ := cutLast(to.From, '@')
	msg.SetMessageIDWithValue(id(e) + "@" + domain) // a mail that is sent again is the same mail
	msg.SetGenHeader("Auto-Submitted", "auto-generated")
	msg.SetBodyString(mail.TypeTextPlain, text+"\n")

	options := []mail.Option{mail.WithPort(port), mail.WithTimeout(10 * time.Second), mail.WithoutNoop()}
	switch to.TLS {
	case "none":
		options = append(options, mail.WithTLSPolicy(mail.NoTLS))
	case "implicit":
		options = append(options, mail.WithSSL())
	default:
		options = append(options, mail.WithTLSPolicy(mail.TLSMandatory))
	}
	if n.TLS != nil {
		cfg := n.TLS.Clone()
		cfg.ServerName = host
		options = append(options, mail.WithTLSConfig(cfg))
	}
	if to.User != "" {
		user, err := n.Secret(ctx, to.User)
		if err != nil {
			return nil, fmt.Errorf("reading the mail server's user from %s: %w", to.User, err)
		}
		password, err := n.Secret(ctx, to.Password)
		if err != nil {
			return nil, fmt.Errorf("reading the mail server's password from %s: %w", to.Password, err)
		}
		options = append(options, mail.WithSMTPAuth(mail.SMTPAuthAutoDiscover), mail.WithUsername(user), mail.WithPassword(password))
	}
	client, err := mail.NewClient(host, options...)
	if err != nil {
		return nil, fmt.Errorf("mail server %s: %w", to.SMTP, err)
	}
	return func(ctx context.Context) error {
		err := client.DialAndSendWithContext(ctx, msg)
		if err == nil {
			return nil
		}
		said := fmt.Errorf("sending mail by %s: %w", to.SMTP, err)
		var sent *mail.SendError
		if errors.As(err, &sent) && !sent.IsTemp() {
			return said // a 5xx of SMTP: it will say so again
		}
		return &retryError{err: said}
	}, nil
}

// cutLast cuts around the last sep; a bracket that ends an address goes too.
func cutLast(s string, sep byte) (before, after string, ok bool) {
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] == sep {
			after = s[i+1:]
			if n := len(after); n > 0 && after[n-1] == '>' {
				after = after[:n-1]
			}
			return s[:i], after, true
		}
	}
	return s, "", false
}
