package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// statusWait is how long a process has to say how it does.
const statusWait = 10 * time.Second

// Status asks how the process does, with up to files pending files of each mount.
func (p *Process) Status(ctx context.Context, files int) (Status, error) {
	var s Status
	ctx, cancel := context.WithTimeout(ctx, statusWait)
	defer cancel()
	answer, err := p.ask(ctx, http.MethodGet, "/v1/status?files="+strconv.Itoa(files))
	if err != nil {
		return s, err
	}
	defer answer.Close()
	if err := json.NewDecoder(io.LimitReader(answer, answerMost)).Decode(&s); err != nil {
		return s, p.failed(ctx, err)
	}
	return s, nil
}

// Wait returns nil when all that was pending in a mount, or in all of them when its name
// is empty, is in the store. report is called with how far it is. Errors: ErrNoMount, ErrRefused,
// the context's, ErrSilent, others when the process cannot be asked or has ended.
func (p *Process) Wait(ctx context.Context, mount string, report func(Progress)) error {
	return p.follow(ctx, "/v1/wait?mount="+url.QueryEscape(mount), report)
}

// Stop ends the process's mounts, as Ctrl-C does, and waits for it and for the end of the
// process. What is not uploaded after uploadFor, if that is not 0, stays in the journal. report is called
// with how far it is. Errors: ErrLeft, the context's, others as of Wait. When ctx ends, the process goes on
// stopping.
func (p *Process) Stop(ctx context.Context, uploadFor time.Duration, report func(Progress)) error {
	ended := watch(p.PID)
	path := "/v1/stop"
	if uploadFor > 0 {
		path += "?upload_for=" + uploadFor.String()
	}
	err := p.follow(ctx, path, report)
	var told *Error
	if err == nil || errors.As(err, &told) {
		patient, cancel := context.WithTimeout(ctx, endWait)
		defer cancel()
		ended(patient)
	}
	return err
}

// endWait is how long a process that has said that its mounts have ended may take to end
// itself.
const endWait = 10 * time.Second

// Kill ends the process without asking it, and waits for its end. All that it has acknowledged is
// in its journals; its mounts may be left dead.
func (p *Process) Kill(ctx context.Context) error {
	ended := watch(p.PID)
	process, err := os.FindProcess(p.PID)
	if err == nil {
		err = process.Kill()
	}
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("end process %d: %w", p.PID, err)
	}
	ctx, cancel := context.WithTimeout(ctx, endWait)
	defer cancel()
	ended(ctx)
	return nil
}

// ask sends a request and returns the body of the answer, which the caller closes.
func (p *Process) ask(ctx context.Context, method, path string) (io.ReadCloser, error) {
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, ResponseHeaderTimeout: silence, MaxResponseHeaderBytes: headerMost,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, p.address) },
	}}
	request, err := http.NewRequestWithContext(ctx, method, "http://pocket"+path, nil)
	if err != nil {
		return nil, err
	}
	answer, err := client.Do(request)
	if err != nil {
		return nil, p.failed(ctx, err)
	}
	if answer.StatusCode == http.StatusOK {
		return answer.Body, nil
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1000))
	if err != nil {
		return nil, p.failed(ctx, err)
	}
	return nil, fmt.Errorf("process %d: %s: %s", p.PID, answer.Status, strings.Join(strings.Fields(string(text)), " "))
}

// failed explains an error of the way to the process.
func (p *Process) failed(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	var timeout net.Error
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("process %d %w: %w", p.PID, ErrSilent, err)
	case isGone(err) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("process %d has ended", p.PID)
	}
	var inURL *url.Error
	if errors.As(err, &inURL) {
		err = inURL.Err // "http://pocket/v1" says nothing to anybody
	}
	return fmt.Errorf("process %d cannot be asked: %w", p.PID, err)
}

// follow reads the events of a work until its end.
func (p *Process) follow(ctx context.Context, path string, report func(Progress)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silent := time.AfterFunc(silence, func() { cancel(os.ErrDeadlineExceeded) })
	defer silent.Stop()
	answer, err := p.ask(ctx, http.MethodPost, path)
	if err != nil {
		return err
	}
	defer answer.Close()
	lines := bufio.NewScanner(answer)
	lines.Buffer(nil, eventMost)
	for lines.Scan() {
		silent.Reset(silence)
		var e Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return fmt.Errorf("process %d answers nonsense: %w", p.PID, err)
		}
		if e.Progress != nil && report != nil {
			report(*e.Progress)
		}
		switch {
		case e.Done && e.Error != "":
			return &Error{Text: e.Error, Kind: kinds[e.Kind]}
		case e.Done:
			return nil
		}
	}
	err = lines.Err()
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return p.failed(ctx, err)
}
