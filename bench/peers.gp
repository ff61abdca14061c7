# Wall time and bytes of the agent and its peers, side by side. The lengths are
# linear, so that a bar twice as high is twice as much; the numbers say the rest.
# Wants data (a directory) and out (a file).
set terminal pngcairo size 1180,430 font "DejaVu Sans,12" background "white"
set output out
array colour[5] = [0x8c8c8c, 0xb8a888, 0x7f9fbf, 0xa58fb5, 0xd1495b]
paint(i) = colour[int(i)]

set multiplot layout 1,2 margins 0.05,0.985,0.20,0.84 spacing 0.06
unset key
set style fill solid noborder
set boxwidth 0.8
set border 3 lc rgb "#666666"
set tics nomirror out textcolor rgb "#333333"
set grid ytics lc rgb "#e4e4e4" lw 1
set xrange [0.3:10.7]
set yrange [0:*]
set offsets 0, 0, graph 0.10, 0
set xtics rotate by 35 right offset 0.5,0 scale 0

set label 1 "full update" at first 2, graph 1.02 center font ",12"
set label 2 "delta update" at first 6, graph 1.02 center font ",12"
set label 3 "nothing new" at first 9.5, graph 1.02 center font ",12"

seconds(t) = t < 0.1 ? sprintf("%.0f ms", t * 1000) : sprintf("%.2f", t)
bytes(m) = m < 0.01 ? sprintf("%.0f B", m * 1e6) : sprintf("%.1f", m)

set title "Wall time, seconds" offset 0,1.2 font ",13"
plot data."/peers" using 1:2:(paint($4)):xtic(5) with boxes lc rgb variable, \
     "" using 1:2:(seconds($2)) with labels offset 0,0.7 font ",10"

set title "Bytes from the server, MB" offset 0,1.2 font ",13"
plot data."/peers" using 1:3:(paint($4)):xtic(5) with boxes lc rgb variable, \
     "" using 1:3:(bytes($3)) with labels offset 0,0.7 font ",10"
unset multiplot
