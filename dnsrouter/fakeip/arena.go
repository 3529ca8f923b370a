package fakeip

import (
	"iter"
	"strings"
)

// maxName is the longest name that the arena's and the journal's length byte can tell.
const maxName = 255

// A ref is a name's place in an arena: the chunk's number and the offset in it.
type ref uint32

const (
	chunkBits = 15
	chunkSize = 1 << chunkBits

	none = ^ref(0) // refers to no name
)

// arena stores names end to end, each behind its length byte, in chunks that
// hold no pointers. A byte once written is never changed, so names are given
// out as parts of a chunk without being copied; the garbage collector frees a
// chunk when neither the arena nor anybody else has a name in it.
type arena struct {
	chunks []string
	dead   []int           // bytes of each chunk that belong to names no longer used
	spare  []int           // numbers of chunks that were freed
	tail   strings.Builder // has its full capacity from the start, so its string stays where it is
	open   int             // number of the chunk that tail is
}

// add stores the name, whose length is 1 to maxName.
func (a *arena) add(name string) ref {
	if len(a.chunks) == 0 || a.tail.Len()+1+len(name) > chunkSize {
		a.openChunk()
	}
	at := a.tail.Len()
	a.tail.WriteByte(byte(len(name)))
	a.tail.WriteString(name)
	a.chunks[a.open] = a.tail.String()
	return ref(a.open<<chunkBits | at)
}

func (a *arena) openChunk() {
	a.tail.Reset()
	a.tail.Grow(chunkSize)
	if n := len(a.spare); n > 0 {
		a.open, a.spare = a.spare[n-1], a.spare[:n-1]
		return
	}
	a.open = len(a.chunks)
	a.chunks = append(a.chunks, "")
	a.dead = append(a.dead, 0)
}

// name reads what add stored.
func (a *arena) name(r ref) string {
	s := a.chunks[r>>chunkBits][r%chunkSize:]
	return s[1 : 1+int(s[0])]
}

// drop declares the name unused. If a quarter of its chunk is then unused, the
// chunk's number is given back with ok: the caller moves the names it still
// uses and frees the chunk.
func (a *arena) drop(r ref) (chunk int, ok bool) {
	chunk = int(r >> chunkBits)
	a.dead[chunk] += 1 + len(a.name(r))
	return chunk, chunk != a.open && a.dead[chunk] > chunkSize/4
}

// all yields the names of a chunk, used and unused.
func (a *arena) all(chunk int) iter.Seq2[ref, string] {
	return func(yield func(ref, string) bool) {
		for at := 0; at < len(a.chunks[chunk]); {
			r := ref(chunk<<chunkBits | at)
			name := a.name(r)
			if !yield(r, name) {
				return
			}
			at += 1 + len(name)
		}
	}
}

// free makes the chunk's number available to new names.
func (a *arena) free(chunk int) {
	a.chunks[chunk], a.dead[chunk] = "", 0
	a.spare = append(a.spare, chunk)
}
