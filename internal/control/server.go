package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// Server answers for a process.
type Server struct {
	service Service
	log     *slog.Logger
	http    *http.Server
	socket  *socket
	served  chan struct{} // closed when Serve has returned
}

// Listen lets other processes of this user find this one below dataDir, and answers
// them with service until Close. Errors: one line; the process can do without.
func Listen(dataDir string, about About, service Service, log *slog.Logger) (*Server, error) {
	socket, err := open(dataDir, about)
	if err != nil {
		return nil, fmt.Errorf("pocket status cannot reach this process: %w", err)
	}
	s := &Server{service: service, log: log, socket: socket, served: make(chan struct{})}
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
	go func() {
		defer close(s.served)
		err := s.http.Serve(&guarded{Listener: socket.Listener, log: log})
		if !errors.Is(err, http.ErrServerClosed) {
			log.Warn("pocket status cannot reach this process any more", "error", err)
		}
	}()
	return s, nil
}

// Close takes the process out of sight and waits for answers under way, as long as ctx
// allows.
func (s *Server) Close(ctx context.Context) error {
	forgotten := s.socket.forget()
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	<-s.served
	// What was made for nothing but this goes with the last process: where others are it
	// is not empty, and stays.
	os.Remove(filepath.Dir(s.socket.record))
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
