package flog

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

var incidentName = regexp.MustCompile(`^incident-\d{4}-\d\d-\d\d--\d\d-\d\d-\d\dZ-[a-z2-7]{1,32}$`)

// nameOf returns the name of the incident in a file; "" if it is none.
func nameOf(path string) string {
	name, ok := strings.CutSuffix(filepath.Base(path), packedEnd)
	if !ok {
		name, ok = strings.CutSuffix(name, plainEnd)
	}
	if !ok || !incidentName.MatchString(name) {
		return ""
	}
	return name
}

// Incidents returns those in the folder whose names come after since, the
// oldest first; those of other processes too. A file that cannot be read is
// left out.
func (l *Log) Incidents(since string) ([]Incident, error) {
	files, err := l.files()
	if err != nil {
		return nil, err
	}
	var found []Incident
	for _, info := range files {
		i := Incident{Name: nameOf(info.Name()), Path: l.path(info.Name())}
		if i.Name <= since {
			continue
		}
		r, err := Open(i.Path)
		if err != nil {
			continue
		}
		if trigger := r.Header().Trigger; trigger != nil {
			i.Trigger = *trigger
			found = append(found, i)
		}
		r.Close()
	}
	return found, nil
}

// OpenIncident opens the file of an incident. The name may come from anybody;
// if there is none of that name, the error is an fs.ErrNotExist.
func (l *Log) OpenIncident(name string) (*Reader, error) {
	if l.opts.Incidents.Dir == "" || !incidentName.MatchString(name) {
		return nil, fmt.Errorf("flog: there is no incident of that name: %w", fs.ErrNotExist)
	}
	r, err := Open(l.path(name + packedEnd))
	if err != nil && os.IsNotExist(err) {
		r, err = Open(l.path(name + plainEnd))
	}
	return r, err
}

// files returns those of incidents, the oldest first.
func (l *Log) files() (files []fs.FileInfo, err error) {
	if l.opts.Incidents.Dir == "" {
		return nil, nil
	}
	entries, err := os.ReadDir(l.opts.Incidents.Dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if nameOf(e.Name()) == "" || !e.Type().IsRegular() {
			continue
		}
		if info, err := e.Info(); err == nil {
			files = append(files, info)
		}
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int { return strings.Compare(a.Name(), b.Name()) })
	return files, nil
}

// prune removes the oldest files, as far as they are too many, too large or too
// old.
func (l *Log) prune() {
	files, err := l.files()
	if err != nil {
		l.complain("incidents cannot be listed", err)
		return
	}
	in := &l.opts.Incidents
	size := int64(0)
	for i, info := range slices.Backward(files) {
		size += info.Size()
		kept := len(files) - i
		if kept > 1 && (in.Keep > 0 && kept > in.Keep || in.KeepBytes > 0 && size > in.KeepBytes ||
			in.KeepFor > 0 && time.Since(info.ModTime()) > in.KeepFor) {
			if err := os.Remove(l.path(info.Name())); err != nil && !os.IsNotExist(err) {
				l.complain("an old incident cannot be removed", err)
			}
		}
	}
}
