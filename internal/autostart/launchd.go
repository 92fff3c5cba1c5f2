//go:build unix

package autostart

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/hamflx/pocket/internal/atomicfile"
)

// agentLabel names the agent: launchctl print gui/UID/dev.hamflx.pocket.
const agentLabel = "dev.hamflx.pocket"

// launchd is an agent of the user's login session.
type launchd struct {
	file string   // the property list
	uid  int      // of the user
	env  []string // as of systemd
}

func (l launchd) String() string { return l.file }

// Text returns a property list: man launchd.plist.
func (l launchd) Text(program string, args []string) (string, error) {
	var words, env strings.Builder
	for _, word := range append([]string{program}, args...) {
		words.WriteString("\t\t<string>" + escapeXML(word) + "</string>\n")
	}
	for _, pair := range l.env {
		name, value, _ := strings.Cut(pair, "=")
		env.WriteString("\t\t<key>" + escapeXML(name) + "</key>\n\t\t<string>" + escapeXML(value) + "</string>\n")
	}
	if env.Len() > 0 {
		env.WriteString("\t</dict>\n")
	}
	environment := ""
	if env.Len() > 0 {
		environment = "\t<key>EnvironmentVariables</key>\n\t<dict>\n" + env.String()
	}
	return `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<!-- Written by pocket install; pocket uninstall removes it. -->
<plist version="1.0">
<dict>
	<key>Label</key>
	<string>` + agentLabel + `</string>
	<key>ProgramArguments</key>
	<array>
` + words.String() + `	</array>
` + environment + `	<key>RunAtLoad</key>
	<true/>
	<key>KeepAlive</key>
	<dict>
		<key>SuccessfulExit</key>
		<false/>
	</dict>
	<key>ThrottleInterval</key>
	<integer>10</integer>
	<key>ExitTimeOut</key>
	<integer>90</integer>
</dict>
</plist>
`, nil
}

func escapeXML(text string) string {
	var b bytes.Buffer
	xml.EscapeText(&b, []byte(text)) // a buffer takes everything
	return b.String()
}

func (l launchd) Load() (string, bool, error) { return loadFile(l.file) }

func (l launchd) Save(_ context.Context, text string) error {
	if err := os.MkdirAll(filepath.Dir(l.file), 0o755); err != nil {
		return fmt.Errorf("make the directory of agents: %w", err)
	}
	return atomicfile.Write(l.file, []byte(text), 0o644)
}

func (l launchd) Remove(ctx context.Context) error {
	if err := l.Halt(ctx); err != nil {
		return err
	}
	return removeFile(l.file)
}

// domain is the user's login session.
func (l launchd) domain() string { return "gui/" + strconv.Itoa(l.uid) }

// pidLine is of what launchctl print says of a program that runs.
var pidLine = regexp.MustCompile(`(?m)^\s*pid = (\d+)$`)

func (l launchd) Start(ctx context.Context, _ string, _ []string) (Started, error) {
	if _, err := supervise(ctx, "launchctl", "bootstrap", l.domain(), l.file); err != nil {
		return Started{}, err
	}
	return waitPID(ctx, func() (int, error) {
		said, err := supervise(ctx, "launchctl", "print", l.domain()+"/"+agentLabel)
		if err != nil {
			return 0, err
		}
		found := pidLine.FindStringSubmatch(said)
		if found == nil {
			return 0, nil
		}
		return strconv.Atoi(found[1])
	})
}

func (l launchd) Halt(ctx context.Context) error {
	if _, err := supervise(ctx, "launchctl", "print", l.domain()+"/"+agentLabel); err != nil {
		return nil // it is not known there
	}
	_, err := supervise(ctx, "launchctl", "bootout", l.domain()+"/"+agentLabel)
	return err
}
