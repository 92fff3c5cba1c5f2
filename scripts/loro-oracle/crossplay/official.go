package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/hamflx/pocket/loroindex/loro"
	"github.com/hamflx/pocket/scripts/loro-oracle/canon"
)

// library is a process that runs one version of the official library. It is not
// safe for concurrent use.
type library struct {
	version string
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
	docs    int
}

func start(scripts, version string) (*library, error) {
	cmd := exec.Command("node", filepath.Join(scripts, "crossplay.mjs"), version)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting version %s of the official library: %w", version, err)
	}
	return &library{version: version, cmd: cmd, in: in, out: bufio.NewReaderSize(out, 1<<20)}, nil
}

// stop ends the process and waits for it.
func (l *library) stop() error {
	return errors.Join(l.in.Close(), l.cmd.Wait())
}

// answer holds the fields any answer may have.
type answer struct {
	Failed    string              `json:"failed"`
	Refused   string              `json:"refused"`
	Pending   map[string][2]int32 `json:"pending"`
	Blob      []byte              `json:"blob"`
	State     string              `json:"state"`
	VV        map[string]int32    `json:"vv"`
	Frontiers []string            `json:"frontiers"`
	Text      string              `json:"text"`
}

func (l *library) ask(request map[string]any) (answer, error) {
	var a answer
	line, err := json.Marshal(request)
	if err != nil {
		return a, err
	}
	if _, err := l.in.Write(append(line, '\n')); err != nil {
		return a, fmt.Errorf("%s: %w", l.version, err)
	}
	if line, err = l.out.ReadBytes('\n'); err != nil {
		return a, fmt.Errorf("%s ended: %w", l.version, err)
	}
	if err := json.Unmarshal(line, &a); err != nil {
		return a, fmt.Errorf("%s: %w", l.version, err)
	}
	if a.Failed != "" {
		return a, fmt.Errorf("%s, asked to %v: %s", l.version, request["do"], a.Failed)
	}
	return a, nil
}

// official is a document of the official library.
type official struct {
	l  *library
	id int
}

func (l *library) newDoc(peer loro.PeerID) (*official, error) {
	l.docs++
	o := &official{l, l.docs}
	_, err := o.ask("new", "peer", peer.String())
	return o, err
}

func (o *official) ask(do string, fields ...any) (answer, error) {
	request := map[string]any{"do": do, "doc": o.id}
	for i := 0; i < len(fields); i += 2 {
		request[fields[i].(string)] = fields[i+1]
	}
	return o.l.ask(request)
}

func (o *official) name() string { return o.l.version }

func (o *official) edit(how edits) error {
	_, err := o.ask("edit", "seed", how.seed, "count", how.count, "time", how.time, "other", how.other)
	return err
}

func (o *official) take(blob []byte) (taken, error) {
	a, err := o.ask("import", "blob", blob)
	if len(a.Pending) == 0 {
		a.Pending = nil
	}
	return taken{refused: a.Refused != "", pending: a.Pending}, err
}

func (o *official) updates(from loro.VersionVector) ([]byte, error) {
	a, err := o.ask("updates", "from", canon.Version(from))
	return a.Blob, err
}

func (o *official) snapshot() ([]byte, error) {
	a, err := o.ask("snapshot")
	return a.Blob, err
}

func (o *official) shallow(at loro.Frontiers) ([]byte, error) {
	a, err := o.ask("shallow", "at", canon.IDs(at))
	return a.Blob, err
}

func (o *official) look() (look, error) {
	a, err := o.ask("look")
	return look{state: a.State, vv: a.VV, frontiers: a.Frontiers}, err
}

func (o *official) text(what string) (string, error) {
	a, err := o.ask("text", "what", what)
	return a.Text, err
}

func (o *official) free() error {
	_, err := o.ask("free")
	return err
}
