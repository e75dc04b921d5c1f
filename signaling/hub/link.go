package hub

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/p2ptun/p2ptun/config"
)

// LinkFile is the file in the state directory that holds the hub link.
const LinkFile = "link"

// ReadLink returns the link of a hub that has run on the state directory,
// whether it runs now or not.
func ReadLink(state string) (config.HubLink, error) {
	path := filepath.Join(state, LinkFile)
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return config.HubLink{}, config.WithHint(fmt.Errorf("hub link: there is none in %s", path), "`p2ptun hub` makes it at its first start; another state directory is named by --state DIR")
	case err != nil:
		return config.HubLink{}, config.WithHint(fmt.Errorf("hub link: %w", err), "run as the user that runs the hub, or give another --state DIR")
	}
	link, err := config.ParseHubLink(string(b))
	if err != nil {
		return link, config.WithHint(fmt.Errorf("hub link in %s: %w", path, err), "`p2ptun hub` writes it anew at its next start")
	}
	return link, nil
}

// RotateLink gives a hub that does not run a new access key: the link made of
// the old one creates no networks any more. For one that runs see Hub.RotateLink.
func RotateLink(state string) (config.HubLink, error) {
	link, err := ReadLink(state)
	if err != nil {
		return link, err
	}
	s, err := openState(state)
	if err != nil {
		return link, err
	}
	defer s.close()
	if err := s.rotateAccess(); err != nil {
		return link, err
	}
	link.Key, link.Access = s.identity.Public(), s.access
	return link, writeLink(state, link)
}

// RotateLink gives the hub a new access key: the link made of the old one
// creates no networks any more. Networks that exist are not affected.
func (h *Hub) RotateLink() (config.HubLink, error) {
	h.linkMu.Lock()
	defer h.linkMu.Unlock()
	if err := h.state.rotateAccess(); err != nil {
		return config.HubLink{}, err
	}
	h.link.Access = h.state.access
	h.log.Info("the hub link was rotated")
	return h.link, writeLink(h.state.dir.Path(), h.link)
}

// Link is the hub link. It holds the access key: a secret.
func (h *Hub) Link() config.HubLink {
	h.linkMu.Lock()
	defer h.linkMu.Unlock()
	return h.link
}

func writeLink(state string, l config.HubLink) error {
	if err := config.WriteFile(filepath.Join(state, LinkFile), []byte(l.Token()+"\n")); err != nil {
		return fmt.Errorf("hub link: %w", err)
	}
	return nil
}

// maxNameURLs leaves room for addresses: a certificate may be for names that
// lead elsewhere, and names fail where DNS does.
const maxNameURLs = config.MaxHubURLs / 2

// linkURLs are what members are told to dial: what the operator said, else the
// certificate's names, then the addresses.
func linkURLs(cfg Config, names []string, public []netip.Addr, port uint16) []string {
	if len(cfg.URLs) > 0 {
		return cfg.URLs
	}
	scheme := "wss"
	if cfg.PlainHTTP {
		scheme = "ws"
	}
	var urls []string
	for _, name := range names[:min(len(names), maxNameURLs)] {
		urls = append(urls, fmt.Sprintf("%s://%s:%d", scheme, name, port))
	}
	for _, a := range public {
		urls = append(urls, scheme+"://"+netip.AddrPortFrom(a, port).String())
	}
	return urls[:min(len(urls), config.MaxHubURLs)]
}

// checkURLs finds what members could not dial.
func (cfg *Config) checkURLs() error {
	if len(cfg.URLs) > config.MaxHubURLs {
		return config.WithHint(fmt.Errorf("%d URLs, at most %d", len(cfg.URLs), config.MaxHubURLs), "give --url less often")
	}
	for _, u := range cfg.URLs {
		if err := config.CheckHubURL(u); err != nil {
			return config.WithHint(err, "--url takes what members dial, port included")
		}
		if strings.HasPrefix(u, "ws://") && !cfg.PlainHTTP {
			return config.WithHint(fmt.Errorf("hub url %q is without TLS, and the hub serves with", u), "give it as wss://, or let the hub serve with --plain-http")
		}
	}
	if cfg.PlainHTTP && cfg.TLSCert+cfg.TLSKey != "" {
		return config.WithHint(errors.New("--plain-http serves without TLS, and there is a certificate"), "leave out --plain-http, or --tls-cert and --tls-key: the proxy in front has them")
	}
	return nil
}
