package control

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"
)

// Server answers for a process.
type Server struct {
	dataDir string
	about   About
	service Service
	log     *slog.Logger
	http    *http.Server
	closing chan struct{} // closed by Close
	close   func()        // closes it, once
	kept    chan struct{} // closed when keep has returned

	// socket is nil until one could be made. It belongs to Listen, then to keep, then to Close.
	socket *socket
	served chan struct{} // closed when nobody is let in over socket any more
}

// Listen lets other processes of this user find this one below dataDir, and answers
// them with service until Close. An error, of one line, says why they cannot yet, and is no reason to end:
// the Server is there all the same and goes on trying, as it does when what others find it by is
// lost later; log has a line when that begins and when it is over.
func Listen(dataDir string, about About, service Service, log *slog.Logger) (*Server, error) {
	s := &Server{
		dataDir: dataDir, about: about, service: service, log: log,
		closing: make(chan struct{}), kept: make(chan struct{}),
	}
	s.close = sync.OnceFunc(func() { close(s.closing) })
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", s.status)
	mux.HandleFunc("POST /v1/wait", s.wait)
	mux.HandleFunc("POST /v1/stop", s.stop)
	s.http = &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: silence, ReadTimeout: silence, IdleTimeout: silence,
		MaxHeaderBytes: headerMost,
		ErrorLog:       slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	_, err := s.appear()
	go s.keep(err)
	if err != nil {
		err = fmt.Errorf("pocket status cannot reach this process yet: %w", err)
	}
	return s, err
}

// lookAgain is how often a process looks whether others still find it.
const lookAgain = 3 * time.Second

// keep lets others find the process, whatever becomes of its socket and record, until Close. lost is why
// they cannot at the beginning.
func (s *Server) keep(lost error) {
	defer close(s.kept)
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for {
		select {
		case <-s.closing:
			return
		case <-tick.C:
		}
		made, err := s.appear()
		switch {
		case err != nil && lost == nil:
			s.log.Warn("pocket status cannot reach this process: tried again until it can", "error", err)
		case err == nil && (lost != nil || made != ""):
			s.log.Info("pocket status can reach this process again", "made anew", made)
		}
		lost = err
	}
}

// appear makes what others find the process by, as far as it is not there, and returns what that was.
func (s *Server) appear() (made string, err error) {
	if s.socket != nil && !s.serves() {
		s.socket.Close() // of what is lost; whom it has let in is answered all the same
		if err := s.socket.forget(); err != nil {
			return "", err
		}
		<-s.served
		s.socket = nil
	}
	if s.socket == nil {
		if s.socket, err = openSocket(s.dataDir, s.about); err != nil {
			return "", err
		}
		s.serve()
		made = "socket and record"
	}
	if s.socket.saved() {
		return made, nil
	}
	return cmp.Or(made, "record"), s.socket.save()
}

// serve answers who comes over the socket.
func (s *Server) serve() {
	s.served = make(chan struct{})
	go func(l net.Listener, served chan struct{}) {
		defer close(served)
		err := s.http.Serve(&guarded{Listener: l, log: s.log})
		if !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			s.log.Warn("the local socket has failed", "error", err)
		}
	}(s.socket.Listener, s.served)
}

// serves reports whether others can come over the socket.
func (s *Server) serves() bool {
	select {
	case <-s.served:
		return false
	default:
		return isThere(s.socket.address)
	}
}

// Close takes the process out of sight and waits for answers under way, as long as ctx
// allows.
func (s *Server) Close(ctx context.Context) error {
	s.close()
	select {
	case <-s.kept:
	case <-ctx.Done(): // the disk hangs
		return errors.Join(ctx.Err(), s.http.Close())
	}
	if s.socket == nil {
		return s.http.Close()
	}
	forgotten := s.socket.forget()
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	<-s.served
	// What was made for nothing but this goes with the last process: where others are it
	// is not empty, and stays.
	os.Remove(Dir(s.dataDir))
	return errors.Join(forgotten, err)
}

// guarded is a listener that lets nobody in but this user, and not too many at once.
type guarded struct {
	net.Listener
	log *slog.Logger

	mu   sync.Mutex
	open int // connections; guarded by mu
}

func (g *guarded) Accept() (net.Conn, error) {
	for {
		c, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if err := checkPeer(c); err != nil {
			g.log.Warn("a connection to the local socket was refused", "error", err)
			c.Close()
			continue
		}
		g.mu.Lock()
		full := g.open >= connectionsMax
		if !full {
			g.open++
		}
		g.mu.Unlock()
		if full {
			c.Close()
			continue
		}
		return &counted{Conn: c, guard: g}, nil
	}
}

// counted is a connection that counts as open until it is closed.
type counted struct {
	net.Conn
	guard *guarded
	once  sync.Once
}

func (c *counted) Close() error {
	c.once.Do(func() {
		c.guard.mu.Lock()
		c.guard.open--
		c.guard.mu.Unlock()
	})
	return c.Conn.Close()
}

func (s *Server) status(w http.ResponseWriter, r *http.Request) {
	files, err := strconv.Atoi(r.URL.Query().Get("files"))
	if err != nil {
		http.Error(w, "files is not a number", http.StatusBadRequest)
		return
	}
	body, err := json.Marshal(s.service.Status(files))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(silence))
	w.Header().Set("Content-Type", "application/json")
	w.Write(body)
}

func (s *Server) wait(w http.ResponseWriter, r *http.Request) {
	mount := r.URL.Query().Get("mount")
	s.stream(w, r, func(ctx context.Context, report func(Progress)) error {
		return s.service.Wait(ctx, mount, report)
	})
}

func (s *Server) stop(w http.ResponseWriter, r *http.Request) {
	var uploadFor time.Duration
	if text := r.URL.Query().Get("upload_for"); text != "" {
		var err error
		if uploadFor, err = time.ParseDuration(text); err != nil || uploadFor <= 0 {
			http.Error(w, "upload_for is not a duration", http.StatusBadRequest)
			return
		}
	}
	s.log.Info("told to stop over the local socket", "upload for", uploadFor)
	s.stream(w, r, func(ctx context.Context, report func(Progress)) error {
		return s.service.Stop(ctx, uploadFor, report)
	})
}

// stream answers with the events of a work.
func (s *Server) stream(w http.ResponseWriter, r *http.Request, work func(context.Context, func(Progress)) error) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	var mu sync.Mutex
	var last *Progress // guarded by mu
	changed := make(chan struct{}, 1)
	done := make(chan error, 1)
	go func() {
		done <- work(ctx, func(p Progress) {
			mu.Lock()
			last = &p
			mu.Unlock()
			select {
			case changed <- struct{}{}:
			default:
			}
		})
	}()
	w.Header().Set("Content-Type", "application/x-ndjson")
	control := http.NewResponseController(w)
	control.SetReadDeadline(time.Time{}) // the request is read; its end is noticed by writing
	send := func(e Event) error {
		control.SetWriteDeadline(time.Now().Add(silence))
		if err := json.NewEncoder(w).Encode(e); err != nil {
			return err
		}
		return control.Flush()
	}
	tick := time.NewTicker(beat)
	defer tick.Stop()
	rest := time.NewTimer(0) // events come no faster than this
	defer rest.Stop()
	for {
		select {
		case err := <-done:
			e := Event{Done: true}
			if err != nil {
				e.Error, e.Kind = err.Error(), kindOf(err)
			}
			mu.Lock()
			e.Progress = last
			mu.Unlock()
			send(e)
			return
		case <-rest.C:
			select {
			case <-changed:
			case <-tick.C:
			case err := <-done:
				done <- err
				continue
			}
			mu.Lock()
			e := Event{Progress: last}
			mu.Unlock()
			if send(e) != nil {
				cancel()
				<-done
				return
			}
			rest.Reset(beat / 10)
		}
	}
}
